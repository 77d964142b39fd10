"""The real readers of env files, each over all files of a directory: what it reads, or None where it gives up."""
import concurrent.futures, glob, http.server, json, os, re, shutil, socketserver, subprocess, tempfile, threading, urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
LAB = os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{REPO}/target"), "env-files")
EXAMPLE = os.path.join(os.path.dirname(LAB), "debug/examples/env-file-edits")
NOWHERE = f"{LAB}/nowhere"
ENVIRONMENT = {"TLAB": "TV", "PATH": "/nonexistent", "HOME": NOWHERE}
NODE = shutil.which("node") or "node"


def install():
    """Brings the readers here: npm's packages, Debian's of Docker Compose 1 and 2 unpacked, the libraries' reader built."""
    os.makedirs(NOWHERE, exist_ok=True)
    run = lambda command, **more: subprocess.run(command, check=True, shell=True, cwd=LAB, **more)
    subprocess.run(["cargo", "build", "--quiet", "--example", "env-file-edits"], check=True, cwd=REPO)
    run(f"cc -O1 -o libraries {HERE}/libraries.c -ldl")
    if not os.path.exists(f"{LAB}/node_modules"):
        run("npm install --silent --no-audit --no-fund dotenv16@npm:dotenv@16 dotenv17@npm:dotenv@17 dotenv18@npm:dotenv@18")
    if not os.path.exists(f"{LAB}/compose1"):
        needed = "python3-certifi python3-charset-normalizer python3-idna python3-urllib3 python3-chardet python3-requests " \
            "python3-websocket python3-docker python3-dockerpty python3-docopt python3-dotenv python3-attr python3-pyrsistent " \
            "python3-jsonschema python3-texttable python3-six python3-yaml python3-distro python3-setuptools docker-compose"
        run(f"mkdir -p debs1 && cd debs1 && apt-get -qq download {needed} && for deb in *.deb; do dpkg-deb -x $deb ../compose1; done")
    if not os.path.exists(f"{LAB}/compose2"):
        key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian"
        run("mkdir -p compose2 debs2/lists/partial debs2/cache/archives/partial")
        open(f"{LAB}/debs2/sources.list", "w").write(f"deb {key} trixie main\ndeb {key} sid main\n")
        apt = "apt-get -qq -o Dir::Etc::SourceList=$PWD/sources.list -o Dir::Etc::SourceParts=/dev/null " \
            "-o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD/cache -o APT::Sandbox::User=root"
        run(f"cd debs2 && {apt} update && {apt} download docker-compose/trixie && {apt} download docker-compose/sid && "
            "for deb in *.deb; do dpkg-deb -x $deb ../compose2/$deb; done")


def stream(command, directory, names, environment=ENVIRONMENT):
    """A reader that takes paths on its standard input."""
    paths = "".join(f"{directory}/{name}\n" for name in names)
    ran = subprocess.run(command, input=paths.encode(), capture_output=True, env=environment)
    read = {}
    for line in ran.stdout.decode().splitlines():
        name, _, rest = line.partition("\t")
        read[name] = None if rest == "!" else assignments(bytes.fromhex(word) for word in rest.split())
    if len(read) != len(names):
        raise SystemExit(f"{command}: {len(read)} of {len(names)} files: {ran.stderr[-2000:]}")
    return read


def assignments(entries):
    return {key: value for key, equals, value in (entry.partition(b"=") for entry in entries) if equals}


def in_debian_13(arguments, directory, names):
    image = glob.glob(f"{os.path.dirname(LAB)}/boxes/13-bare")[0]
    script = f"mount --bind {LAB} {image}/mnt && mount --bind {directory} {image}/srv && mount -t tmpfs tmp {image}/tmp && " \
        f"exec chroot {image} /mnt/libraries {arguments}"
    return stream(["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script], "/srv", names,
                  {**ENVIRONMENT, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def shell(which, directory, names):
    """What is in force after a shell has sourced the file, of all that looks like a name in it."""
    # Without a home, lest what is recorded is of this machine.
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "HOME"}
    own = rb"(?:BASH.*|PATH|IFS|PPID|PWD|OLDPWD|TLAB|SHLVL|TERM|UID|EUID|_|LINENO|RANDOM|SECONDS|LANG|OPT.*|HOME|PS[124])$"

    def one(name):
        words = set(re.findall(rb"[A-Za-z_][A-Za-z0-9_]*", open(f"{directory}/{name}", "rb").read()))
        show = b"".join(b'[ "${%s+x}" ] && printf "%%s=%%s\\0" %s "$%s"\n' % (word, word, word)
                        for word in sorted(words) if not re.match(own, word)) + b"printf 'end\\0'\n"
        ran = subprocess.run([f"/bin/{which}", "-c", '. "$1"; . /proc/self/fd/0', "sh", f"{directory}/{name}"], input=show,
                             capture_output=True, env=environment, cwd=NOWHERE, timeout=20)
        gave_up = [b"syntax error", b"unexpected EOF", b"cannot execute binary", b"bad substitution"]
        entries = ran.stdout.split(b"\0")
        if b"end" not in entries or any(words in ran.stderr for words in gave_up):
            return None
        return assignments(entries)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(one, names)))


def compose2(version, directory, names):
    """Many services at once; where one file makes Compose give up, the half of them that it is in, and so on."""
    command = glob.glob(f"{LAB}/compose2/docker-compose_{version}*/usr/libexec/docker/cli-plugins/docker-compose")[0]
    read = {}

    def some(part):
        services = {name: {"image": "x", "env_file": [f"{directory}/{name}"]} for name in part}
        ran = subprocess.run([command, "-p", "p", "-f", "-", "config", "--format", "json"], capture_output=True, cwd=NOWHERE,
                             env=ENVIRONMENT, input=json.dumps({"services": services}).encode())
        if ran.returncode and len(part) == 1:
            read[part[0]] = None
        elif ran.returncode:
            some(part[:len(part) // 2])
            some(part[len(part) // 2:])
        else:
            for name, service in json.loads(ran.stdout)["services"].items():
                # It doubles what it would expand again.
                entries = (service.get("environment") or {}).items()
                read[name] = {key.encode(): value.replace("$$", "$").encode() for key, value in entries if value is not None}

    for at in range(0, len(names), 50):
        some(names[at:at + 50])
    return read


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads, request_queue_size = True, 64


class Requests(http.server.BaseHTTPRequestHandler):
    """As much of Docker's API as its command line needs to send what it has read."""
    protocol_version, seen = "HTTP/1.1", {}

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200, b"{}")

    do_HEAD = do_GET

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        name = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)["name"][0]
        self.seen[name] = [entry.encode() for entry in body.get("Env") or []]
        self.answer(400, b'{"message":"seen"}')

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def docker(directory, names):
    socket = tempfile.mktemp(prefix="engine")
    engine = Engine(socket, Requests)
    threading.Thread(target=engine.serve_forever, daemon=True).start()

    def one(name):
        Requests.seen.pop(name, None)
        subprocess.run([shutil.which("docker"), "-H", f"unix://{socket}", "create", "--name", name, "--env-file", f"{directory}/{name}", "x"],
                       capture_output=True, env=ENVIRONMENT, timeout=60)
        seen = Requests.seen.get(name)
        return None if seen is None else assignments(seen)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        read = dict(zip(names, pool.map(one, names)))
    engine.shutdown()
    os.unlink(socket)
    return read


def libsystemd(version):
    return f"/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-{version}.so"


# By a letter each, as the corpus names them. Those of a list read alike, or the recording fails.
READERS = {
    "s": [lambda d, n: stream([f"{LAB}/libraries", "systemd", libsystemd(252)], d, n)],
    "S": [lambda d, n: in_debian_13(f"systemd {libsystemd(257)}", d, n)],
    "d": [lambda d, n, v=v: stream([NODE, f"{HERE}/node.cjs", f"dotenv{v}", f"{LAB}/node_modules"], d, n) for v in (16, 17, 18)],
    "n": [lambda d, n: stream([NODE, f"{HERE}/node.cjs", "node"], d, n)],
    "y": [lambda d, n: stream([EXAMPLE, "dotenvy"], d, n)],
    "1": [lambda d, n: stream(["/usr/bin/python3", f"{HERE}/compose1.py", f"{LAB}/compose1/usr/lib/python3/dist-packages"], d, n)],
    "2": [lambda d, n, v=v: compose2(v, d, n) for v in ("2.26", "2.40")],
    "k": [docker],
    "p": [lambda d, n: stream([f"{LAB}/libraries", "pam"], d, n)],
    "P": [lambda d, n: in_debian_13("pam", d, n)],
    "a": [lambda d, n: shell("dash", d, n)],
    "b": [lambda d, n: shell("bash", d, n)],
}


def read_all(texts_of, say):
    """By reader: by text, what it reads."""
    made = {}
    for letter, alike in READERS.items():
        texts = texts_of[letter]
        directory = tempfile.mkdtemp()
        names = [f"c{number}" for number in range(len(texts))]
        for name, text in zip(names, texts):
            open(f"{directory}/{name}", "wb").write(text)
        say(f"{len(texts)} files, reader {letter}")
        all_read = [read(directory, names) for read in alike]
        for name, text in zip(names, texts):
            if any(read[name] != all_read[0][name] for read in all_read):
                raise SystemExit(f"readers {letter} differ about {text!r}")
        made[letter] = {text: all_read[0][name] for name, text in zip(names, texts)}
        shutil.rmtree(directory)
    return made
