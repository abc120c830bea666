#!/usr/bin/env bash
# Print the text. The first attempt fails as a busy server would, so that the demonstration shows a retry.
set -euo pipefail

if [ "$AUTOGLM_ATTEMPT" -eq 1 ]; then
  echo "the source is busy, try again" >&2
  exit 75 # EX_TEMPFAIL: `retry.on` in the workflow names it
fi

file="$AUTOGLM_ROOT/$1"
echo "reading $(wc -w <"$file") words" >&2
cat "$file"
