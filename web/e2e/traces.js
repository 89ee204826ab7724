// The forms in which a secret could turn up in text or bytes.

/**
 * Base64 of the bytes at each of the three places they can have in a longer
 * text, less the characters that also depend on their neighbours.
 */
function base64Parts(bytes) {
  return [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString("base64");
    const whole = Math.floor(((shift + bytes.length) * 8) / 6); // characters without bits of what follows
    return text.slice(shift === 0 ? 0 : shift + 1, whole);
  });
}

/** Every form but hex, as Latin-1 text. */
function forms(secret) {
  const hex = Buffer.from(secret.toString("hex"));
  const base64 = [secret, hex].flatMap(base64Parts); // hex inside base64 is what a stamp holds
  const base64url = base64.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"));
  const text = secret.toString("latin1");
  return [text, encodeURIComponent(text), ...base64, ...base64.map(encodeURIComponent), ...base64url, secret.join(","), secret.join(", ")];
}

/** Whether the text or bytes hold the secret, in whichever form. */
export function holds(haystack, secret) {
  const text = Buffer.from(haystack).toString("latin1");
  const hex = secret.toString("hex");
  const lower = text.toLowerCase();
  return forms(secret).some((form) => text.includes(form)) || lower.includes(hex) || lower.includes(hex.replace(/../g, "%$&"));
}
