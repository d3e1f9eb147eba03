// The request as a shell command. Pictures are given as files, so that it stays short.

/** `pictures` have a `file`, its path for the shell, and a `type`. The key itself is not written. */
export function curl(body, pictures, withKey) {
  // a heredoc, whose length is unlimited; in it the shell interprets backslash, dollar and backtick
  let text = JSON.stringify(body, null, 2).replace(/[\\$`]/g, "\\$&");
  pictures.forEach((picture, index) => {
    const data = `data:${picture.type};base64,$(base64 < ${quoted(picture.file)} | tr -d '\\n')`;
    text = text.replace(placeholder(index), () => data);
  });
  const url = new URL("v1/chat/completions", document.baseURI);
  return [
    `curl -sN ${quoted(url.href)} \\`,
    "  -H 'content-type: application/json' -H 'x-patchbay-details: 1' \\",
    ...(withKey ? ['  -H "authorization: Bearer $API_KEY" \\'] : []),
    "  -d @- <<END",
    text,
    "END",
  ].join("\n");
}

/** Stands for a picture's URL in the body given to `curl`. */
export function placeholder(index) {
  return `picture ${index}`;
}

function quoted(word) {
  return /^[\w./:-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
