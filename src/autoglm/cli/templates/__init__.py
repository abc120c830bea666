"""What ``autoglm init`` writes: ``.tmpl`` is dropped from the names, and ``@NAME@`` stands for the project's."""
