"""Model calls: the wire client, the models' names, the offline stand-in."""
