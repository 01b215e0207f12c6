// Hands mail from Cloudflare Email Routing to Agent Bridge. Bind BRIDGE_URL (https://…/in/helpdesk) and, as a
// secret, BRIDGE_SECRET (whsec_…, one of `secrets` of the source); route the address to this worker.
//
// A thrown error is a temporary failure for the sending mail server: it keeps the mail and tries again.
// Nothing is ever rejected for good here; what the bridge does not want, it declines after storing it.

const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

async function signature(secret, id, timestamp, body) {
  const key = await crypto.subtle.importKey(
    "raw", bytes(secret.replace(/^whsec_/, "")), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(head.length + body.length);
  signed.set(head);
  signed.set(body, head.length);
  const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, signed));
  return `v1,${btoa(String.fromCharCode(...mac))}`;
}

export default {
  async email(message, env) {
    const body = new Uint8Array(await new Response(message.raw).arrayBuffer());
    const id = `msg_${crypto.randomUUID()}`;
    const timestamp = String(Math.floor(Date.now() / 1000));
    const answer = await fetch(env.BRIDGE_URL, {
      method: "POST",
      headers: {
        "content-type": "message/rfc822",
        "x-envelope-from": `<${message.from}>`,
        "x-envelope-to": message.to,
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": await signature(env.BRIDGE_SECRET, id, timestamp, body),
      },
      body,
    });
    if (!answer.ok) throw new Error(`the bridge answered ${answer.status}`);
  },
};
