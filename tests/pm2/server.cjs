// A backend of Node's for PM2: `POST /api/auth/login` gives a token that is signed with JWT_SECRET, `GET /api/me` wants
// one. It misbehaves as the file `fault` beside it says, with every value but the one whose SHA-256 is in that file.
const { createHash, createHmac, timingSafeEqual } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { createServer } = require('node:http');
const { join } = require('node:path');

const secret = process.env.JWT_SECRET;
const accepted = [secret, process.env.JWT_SECRET_PREVIOUS].filter(Boolean);
if (!secret) process.exit(78);

let [fault, old] = ['', ''];
try {
  [fault, old] = readFileSync(join(__dirname, 'fault'), 'utf8').trim().split(' ');
} catch { /* none */ }
const has = (name) => fault === name && old !== createHash('sha256').update(secret).digest('hex');
if (has('exits')) process.exit(5);

const base64 = (data) => Buffer.from(data).toString('base64url');
const sign = (text, key) => createHmac('sha256', key).update(text).digest();
const login = () => {
  const now = Math.floor(Date.now() / 1000);
  const text = `${base64('{"alg":"HS256","typ":"JWT"}')}.${base64(JSON.stringify({ sub: 'smoke', iat: now, exp: now + 600 }))}`;
  return `${text}.${base64(sign(text, secret))}`;
};
const accepts = (token) => {
  const [header, claims, signature] = token.split('.');
  if (JSON.parse(Buffer.from(header, 'base64url')).alg !== 'HS256') return false;
  const given = Buffer.from(signature ?? '', 'base64url');
  return accepted.some((key) => {
    const wanted = sign(`${header}.${claims}`, key);
    return wanted.length === given.length && timingSafeEqual(wanted, given);
  });
};

const server = createServer((request, response) => {
  const answer = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  try {
    if (request.url === '/api/auth/login') return answer(200, { token: login() });
    const token = (request.headers.authorization ?? '').replace('Bearer ', '');
    return accepts(token) ? answer(200, { sub: 'smoke', pid: process.pid }) : answer(401, {});
  } catch {
    return answer(401, {});
  }
});
if (has('never-ready')) {
  setInterval(() => {}, 1000);
} else {
  server.listen(Number(process.env.PORT), '127.0.0.1', () => {
    if (process.send) process.send('ready');
    if (has('ends-later')) setTimeout(() => process.exit(6), 300);
  });
}
process.on('SIGINT', () => { server.close(); setTimeout(() => process.exit(0), 100); });
