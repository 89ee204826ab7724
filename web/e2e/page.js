// Functions that run in a page of the demo's origin, handed to page.evaluate.

/** Signs in as an app would, for a key that it holds. */
export async function signInWith(publicKey) {
  async function post(url, body, headers = {}) {
    const init = { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) };
    const response = await fetch(url, init);
    if (!response.ok) throw new Error(`${url} answered ${response.status}`);
    return response.json();
  }
  const { accountId, credentialId, oidcToken, accessToken } = await post("/demo/login", { publicKey });
  const session = await post(
    `/api/grid/auth/credentials/${encodeURIComponent(credentialId)}/verify`,
    { type: "OAUTH", oidcToken, clientPublicKey: publicKey },
    { Authorization: `Bearer ${accessToken}`, "X-Gridsigner": "1" },
  );
  return { sessionId: session.id, accountId, expiresAt: session.expiresAt, accessToken };
}
