"""The files of the corpus: what people write, each trap around and in the line of the key, and chance."""
import random

KEY, OLD = b"JWT_SECRET", b"old-Value_123"

# Files as they are found; <> is the value.
ORDINARY = [
    'A=1\nJWT_SECRET="" # fill me\nB=2\n',
    'A=1\nJWT_SECRET= # fill me\nB=2\n',
    "A=1\nJWT_SECRET='' # fill me\nB=2\n",
    "A=it's\nJWT_SECRET=<>\nB=it's\n",
    'A=`x\nJWT_SECRET=inner\ny`\nJWT_SECRET=<>\n',
    'A="x\ny" # c\nJWT_SECRET=<>\n',
    'A="Hello\u00a0World"\nJWT_SECRET=<>\n',
    'A=1 \\ \nJWT_SECRET=<>\nB=2\n',
    'A=1\n\fJWT_SECRET=<>\n',
    'A=1\nJWT_SECRET\f=<>\n',
    'A=1\nJWT_SECRET="o\\"<>"\nB=2\n',
    'A=1\nJWT_SECRET=o\\\\<>\nB=2\n',
    'export  A=1\nexport  JWT_SECRET=<>\n',
    'export A=1\nexport B=2\n',
    'A=1\r\nB=2',
    'FIRST=1\nA=\\',
    '# App\nNODE_ENV=production\nPORT=3000\nDATABASE_URL=postgres://user:pass@db:5432/app?sslmode=disable\nREDIS_URL=redis://localhost:6379/0\nJWT_SECRET=<>\nJWT_EXPIRES_IN=15m\nCORS_ORIGIN=https://example.com,https://www.example.com\n',
    'APP_NAME=Laravel\nAPP_ENV=local\nAPP_KEY=base64:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=\nAPP_DEBUG=true\nAPP_URL=http://localhost\n\nLOG_CHANNEL=stack\n\nDB_CONNECTION=mysql\nDB_PASSWORD=\n\nMAIL_FROM_NAME="${APP_NAME}"\nMAIL_FROM_ADDRESS="hello@example.com"\n\nJWT_SECRET=<>\nVITE_APP_NAME="${APP_NAME}"\n',
    'RAILS_ENV=production\nSECRET_KEY_BASE=0123456789abcdef0123456789abcdef\nRAILS_LOG_TO_STDOUT=1\nJWT_SECRET=<>\n',
    "DEBUG=False\nALLOWED_HOSTS=a.example.com,b.example.com\nDJANGO_SECRET_KEY='django-insecure-abc-123'\nEMAIL_HOST_PASSWORD='p@ss word'\nJWT_SECRET=<>\nTIME_ZONE=Europe/Vienna\n",
    'PORT="3000"\nJWT_SECRET="<>"\nGREETING="Hello, World!"\n',
    "PORT='3000'\nJWT_SECRET='<>'\nGREETING='Hello, World!'\n",
    'export PORT=3000\nexport JWT_SECRET=<>\nexport PATH_X=/usr/bin:/bin\n',
    'export PORT=3000\nexport JWT_SECRET="<>"\n',
    'PORT=1\nPRIVATE_KEY="-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\nabc+/==\n-----END PRIVATE KEY-----"\nJWT_SECRET=<>\nX=2\n',
    'PORT=1\nPRIVATE_KEY="-----BEGIN PRIVATE KEY-----\\nMIIEvQIB\\n-----END PRIVATE KEY-----\\n"\nJWT_SECRET=<>\nX=2\n',
    'CFG={"a":1,"b":[1,2]}\nJWT_SECRET=<>\n',
    'CFG=\'{"a":1,"b":[1,2]}\'\nJWT_SECRET=<>\n',
    '# Defaults for my-daemon\n\n# Additional options\nDAEMON_OPTS="--verbose --log-level info"\nJWT_SECRET=<>\n',
    'DAEMON_OPTS=--verbose --port 3000\nJWT_SECRET=<>\nJAVA_OPTS=-Xmx512m -Dx=y\n',
    'PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"\nLANG=en_US.UTF-8\nLC_ALL="en_US.UTF-8"\nJWT_SECRET=<>\nhttp_proxy=http://proxy:3128/\nno_proxy=localhost,127.0.0.1,::1\n',
    'PORT=3000\r\nJWT_SECRET=<>\r\nX=1\r\n',
    'PORT=3000\nJWT_SECRET=<>',
    'JWT_SECRET=<>\nPORT=3000\n',
    'JWT_SECRET=<>\n',
    'MY_JWT_SECRET=aaa\nJWT_SECRET_OLD=bbb\nJWT_SECRETS=ccc\nXJWT_SECRET=ddd\nJWT_SECRET=<>\nJWT_SECRET2=eee\njwt_secret=fff\n',
    '# JWT_SECRET=changeme\n#JWT_SECRET=x\nJWT_SECRET=<>\n# export JWT_SECRET=zzz\n',
    '# don\'t use this in production\nJWT_SECRET=<>\n# it\'s "fine\n',
    'PORT=3000 # the port\nJWT_SECRET=<> # rotate me\nX=1 # done\n',
    'PORT="3000" # the port\nJWT_SECRET="<>" # rotate me\nX=1\n',
    'PORT=3000 # the port\nJWT_SECRET=<>\n',
    'NAME="My App" # it\'s the name\nJWT_SECRET=<>\n',
    'PORT = 3000\nJWT_SECRET = <>\n',
    'PORT = 3000\nJWT_SECRET=<>\n',
    '  PORT=3000\n  JWT_SECRET=<>\n',
    'PORT=3000\n  # indented\nJWT_SECRET=<>\n',
    '\n\n\nPORT=3000\n\n   \n\t\nJWT_SECRET=<>\n\n\n',
    'A=\nB=""\nC=\'\'\nJWT_SECRET=<>\n',
    'A=1\nJWT_SECRET=\nB=2\n',
    'A=1\nJWT_SECRET=""\nB=2\n',
    'HOST=localhost\nURL=http://$HOST:3000\nURL2=http://${HOST}:3000/\nJWT_SECRET=<>\n',
    'URL=http://${HOST:-localhost}:3000/\nJWT_SECRET=<>\n',
    "PRICE=$5\nCASH=US$\nHASH='$2b$10$abcdefghijklmnopqrstuv'\nJWT_SECRET=<>\n",
    'HASH=$2b$10$abcdefghijklmnopqrstuv\nJWT_SECRET=<>\n',
    'COLOR=#ff0000\nURL=http://x/#frag\nPASS=ab#cd\nJWT_SECRET=<>\n',
    'DIR=C:\\Users\\me\nJWT_SECRET=<>\n',
    'DIR="C:\\Users\\me"\nJWT_SECRET=<>\n',
    "DIR='C:\\Users\\me'\nJWT_SECRET=<>\n",
    'RE=^[a-z]+\\d*$\nJWT_SECRET=<>\n',
    "RE='^[a-z]+\\d*$'\nJWT_SECRET=<>\n",
    'GREETING=Grüß Gott\nEMOJI=😀\nJWT_SECRET=<>\n# Schöne Grüße\n',
    'spring.datasource.url=jdbc:x\nJWT_SECRET=<>\n',
    'my-key=1\nJWT_SECRET=<>\n',
    'port=3000\nnode_env=dev\nJWT_SECRET=<>\n',
    '#!/bin/sh\nset -a\nPORT=3000\nJWT_SECRET=<>\nset +a\n',
    '. /etc/default/base\nexport PATH="$PATH:/opt/bin"\nexport JWT_SECRET=<>\n',
    'PORT=3000; export PORT\nJWT_SECRET=<>; export JWT_SECRET\n',
    'PORT=3000\nJWT_SECRET=<>\nexport PORT JWT_SECRET\n',
    'if [ -f /etc/x ]; then\n  . /etc/x\nfi\nJWT_SECRET=<>\n',
    'NAME=$(hostname)\nDATE=`date`\nJWT_SECRET=<>\n',
    'umask 077\nJWT_SECRET=<>\n',
    'LONG=a\\\nb\nJWT_SECRET=<>\n',
    'OPTS="--a \\\n  --b"\nJWT_SECRET=<>\n',
    '; old style comment\nA=1\nJWT_SECRET=<>\n',
    '# path is C:\\\nA=1\nJWT_SECRET=<>\n',
    'NAME="My App"\nJWT_SECRET=<>\n',
    'HOME\nJWT_SECRET=<>\n',
    'A: 1\nJWT_SECRET=<>\n',
    'KEY=abc+/def==\nJWT_SECRET=c2VjcmV0LXZhbHVlLXNlY3JldA==\nX=1\n',
    'PASS=p!a@s%s^w&o*r(d)-_=+[]{}|;:,.<>?/~\nJWT_SECRET=<>\n',
    "PASS='p!a@s#s^w&o*r(d)-_=+[]{}|;:,.<>?/~'\nJWT_SECRET=<>\n",
    'PASS="p!a@s#s^w&o*r(d)-_=+[]{}|;:,.<>?/~"\nJWT_SECRET=<>\n',
    "TEXT=it's\nJWT_SECRET=<>\n",
    'TEXT="it\'s"\nJWT_SECRET=<>\n',
    'TEXT=say "hi" now\nJWT_SECRET=<>\n',
    'PORT=3000\t\nJWT_SECRET=<>\nX=1\n',
    'PORT=3000  \nJWT_SECRET=<>\nX=1\n',
    'PORT=3000\nJWT_SECRET=<>  \nX=1\n',
    'PORT=1\nPORT=2\nJWT_SECRET=<>\n',
    'PORT=3000\r\nJWT_SECRET=<>\nX=1\r\n',
    '\ufeffPORT=3000\nJWT_SECRET=<>\n',
    'PORT=3000\nJWT_SECRET=<>\n\x1a',
    'PORT=3000\nNODE_ENV=production\n',
    'PORT=3000',
    'PORT=3000\r\nX=1\r\n',
    '',
    '# nothing here yet\n',
    '\n',
]

# Values, and what is written around them.
VALUES = [
    b'', b'abc', b'old-Value_123', b'a b', b'a#b', b'a #b', b'#a', b' #a', b'a$b', b'a$TLAB', b'a${TLAB}z', b'a$$b',
    b'$', b'a$', b'a\\b', b'a\\nb', b'a\\\\b', b'\\', b'a\\', b"a'b", b'a"b', b'a`b', b'`a`', b'a;b', b'a&b',
    b'a|b', b'a(b)', b'a<b>', b'a=b', b'==', b'a,b:c', b'~', b'~/x', b'a:~/x', b'a*b?', b'[a]', b'{a,b}', b'!a',
    b'a!b', b'%a', b'@a', b'\xc3\xa9', b'\xff', b'a\x00b', b'a\tb', b'\x07', b'\xc2\xa0a', b'a\xe2\x80\xa8b', b'-n',
    b'1e10', b'true', b'null', b'a\rb', b'$(echo x)', b'${TLAB:-x}', b'a\x0bb', b'a\x0cb', b'a\\#b', b'\\ a',
    b'a\\ b', b"''", b'""', b"a''b", b'\\"', b"\\'", b'a\\tb', b'\\$TLAB', b'\x7f', b'\xe2\x80\x8ba', b'a # b # c',
    b"a 'b' # c", b'a "b # c',
]
AROUND = [
    (b'', b''), (b"'", b"'"), (b'"', b'"'), (b' ', b''), (b'', b' '), (b'', b' # note'), (b'"', b'" # note'),
    (b"'", b"'#note"), (b'"', b'"x'), (b'"', b''), (b"'", b''), (b'', b'"'), (b"$'", b"'"), (b'', b'\\'),
]
HEADS = [
    b'', b'export ', b' ', b'\t', b'export  ', b'export\t', b'EXPORT ', b'set ', b'declare -x ', b'readonly ',
]
EQUALS = [
    b'=', b' = ', b' =', b'= ', b'\t=', b':', b': ', b'+=', b'==', b' ',
]

# Other lines.
OTHERS = [
    b'#c', b"# it's", b'# say "x', b'# c \\', b'#c\\', b' # c', b'\t# c', b'; c', b';c\\', b'junk', b'two words',
    b'A', b'A ', b'export A', b'export A B', b'A:', b'A: 1', b'A:1', b'A =1', b'A= 1', b'A = 1', b'A=1 ', b'A=1\\',
    b"A='1\\'", b'A="1\\"', b'A="1\\""', b"A='1", b'A="1', b"A=1'", b'A=1"', b'A=`1', b'A=`x`', b"A='x\ny'",
    b'A="x\ny"', b'A=`x\ny`', b'A="x\nJWT_SECRET=in\ny"', b"A='x\nJWT_SECRET=in\ny'", b"A='x\n#y'\n",
    b'A="x # y\nz"', b"A='x # y\nz'", b'A="x\n"', b"A='\nx'", b'A="x\\\ny"', b"A='x\\\ny'", b'A=x\\\ny',
    b'A=x \\\n  y', b'A="x" "y"', b"A='x' 'y'", b'A="x"y', b"A=x'y'z", b'A=x"y"z', b'A="it\'s"', b'A=\'say "x"\'',
    b'A="a#b"', b'A=a#b', b'A=a #b', b"A='a' #b", b"A='a' # it's", b'A="a" # say "x', b"A=a # it's", b"A=it's",
    b"A=it's # x", b'A=$B', b'A=${B}', b'A=${B:-c}', b"A=${B:-'}", b'A=${B', b'A=$', b'A=$$', b'A=$5', b'A=$(x)',
    b'A=${B:-${C}}', b'A=\\', b'A=\\\\', b'A=a\\nb', b'A="a\\nb"', b'A="a\\tb"', b"A='a\\nb'", b'A="$B"',
    b'A="\\$B"', b"A='$B'", b'A=C:\\x', b'A="C:\\x"', b"A='C:\\x'", b'A="C:\\x\\"', b"A='C:\\x\\'",
    b'MY_JWT_SECRET=1', b'JWT_SECRET_OLD=1', b'MY.JWT_SECRET=1', b'A=JWT_SECRET=1', b'A="JWT_SECRET=1"',
    b'#JWT_SECRET=1', b'# JWT_SECRET=1', b'#export JWT_SECRET=1', b'; JWT_SECRET=1', b'JWT_SECRET',
    b'export JWT_SECRET', b'JWT_SECRET:', b'JWT_SECRET: x', b'jwt_secret=1', b'=1', b'=', b'9A=1', b'A.B=1',
    b'A-B=1', b'A B=1', b'A[0]=1', b'A+=1', b'[section]', b'\x00', b'A=\x00', b'A=\xff', b'#\xff', b'\xff=1',
    b'A=\xc2\xa01', b'\xc2\xa0', b'A=1\xc2\xa0', b'A=\xe2\x80\xa8', b'#\xe2\x80\xa8A=2', b'#\xc2\x85x',
    b'\xef\xbb\xbfA=1', b'#\xef\xbb\xbf', b'A=1\r', b'#c\r', b'\r', b"A='1'\r", b'A="1\r\n2"\r', b'#c\rB=2',
    b'A=1\rB=2', b'A=1\x0b', b'A=1\x0c', b'\x0c', b'   ', b'\t', b'A=1\n\n\n', b'set -a', b'set -e', b'. /dev/null',
    b'source /dev/null', b'A=1 B=2', b'A=1; B=2', b'A=1 && B=2', b'unset JWT_SECRET', b'unset A', b'readonly A=1',
    b'A=(1 2)', b'A=1|2', b'A=1&2', b'A=<1>', b'A=(1)', b'A=1;', b'A=*', b'A=~', b'A=!x', b'A=`', b"A='a'b'c'",
    b"A='a''b'", b'A=""', b"A=''", b"A='''", b'A="""', b'A="""x\ny"""', b"A='''x\ny'''", b'A="\'"', b'A=\'"\'',
    b'A="\\\'"', b'A={"a": 1}', b'A={"a":"b c"}', b'A=["a"]', b'A="{\\"a\\":1}"', b'A=\'{"a":"b"}\'', b'export',
    b'export ', b'export=1', b'exportA=1', b"export 'A=1'", b'export A=1 B=2', b'export "A=1"', b'export -p',
    b'declare -x A=1', b'local A=1', b'A=1 #', b'A=#', b'A= #', b'A=  # c', b'A=" x "', b'A= x ', b'A=\tx',
    b'<<<<<<< HEAD', b'=======', b'A=1 \\', b'A="1" \\', b"A='1'\\", b'A=a\\ b', b'A=a\\#b', b"A=\\'", b'A=\\"',
    b'A=a\\"b', b'A="a\\\\"', b"A='a\\\\'", b'A="a`b"', b"A='a`b'", b'A=a`b', b'A="a`b`c"', b'A=%d', b'A=a%%b',
    b'A=$"x"', b"A=$'x'", b'A="x" \'y\'', b'A="x";', b'A="x"; export A', b'A=x; export A',
]
HARMLESS = [
    b'A=1', b"B='x y'", b'C="x y"', b'# c', b'', b'D=$A', b'E="a\\nb"', b'F=a # c', b'export G=1', b'H=',
    b'I=\'it"s\'', b'J="it\'s"', b'M_URL=http://u:p@h:1/x?y=z&w=1', b'N=a b c', b'P="-----BEGIN\nabc\n-----END"',
    b"Q='one\ntwo'", b'MY_JWT_SECRET=1', b'JWT_SECRET_OLD=2', b'#JWT_SECRET=3', b'R=a\\b', b"S='a\\b'", b'T=a#b',
    b'U=a,b;c', b'V=(x)', b'W = 1', b' X=1', b'Y={"a":1}', b'Z=\'{"a":1}\'', b'AA="# no"', b"AB='$x'", b'AC=5$',
]
PIECES = [
    b'a', b'b', b' ', b'\t', b"'", b'"', b'`', b'\\', b'$', b'#', b'=', b'\n', b'\n', b'\r\n', b';', b':', b'{',
    b'}', b'A=', b'\nA=', b'\nJWT_SECRET=', b'n', b'export ', b'\xc3\xa9', b'\xff', b'\x00', b'-', b'.',
]


def cases():
    """All of them, each once."""
    ours = [KEY + b"=" + OLD, KEY + b'="' + OLD + b'"', KEY + b"='" + OLD + b"'"]
    made = [text.replace("<>", OLD.decode()).encode() for text in ORDINARY]
    made += [KEY + b"=" + before + value + after + b"\nNEXT=1\n" for value in VALUES for before, after in AROUND]
    made += [b"A=1\n" + head + KEY + equals + quote + OLD + quote + b"\nNEXT=1\n"
             for head in HEADS for equals in EQUALS for quote in (b"", b"'", b'"')]
    for number, other in enumerate(OTHERS):
        made += [other + b"\n" + ours[0] + b"\nZ=9\n", other + b"\n" + ours[1 + number % 2] + b"\nZ=9\n",
                 b"Z=9\n" + ours[0] + b"\n" + other + b"\nY=8\n", b"Z=9\n" + other,
                 (other + b"\n" + ours[0] + b"\nZ=9\n").replace(b"\n", b"\r\n")]
    made += [one + b"\nA=1\n" + two + b"\n" for one in ours
             for two in ours + [b"export " + KEY + b"=x", KEY + b"=", KEY + b":x"]]
    chance = random.Random(7)
    of_lines = HARMLESS + [line for line in OTHERS if len(line) < 100 and b"\n" not in line and b"\0" not in line]
    keys = ours + [b"export " + ours[0], ours[0] + b" # c", KEY + b"="]
    for number in range(1600):
        lines = [chance.choice(HARMLESS if number % 2 else of_lines) for _ in range(chance.randint(1, 6))]
        if chance.random() < 0.9:
            lines.insert(chance.randint(0, len(lines)), chance.choice(keys))
        ending = b"\r\n" if chance.random() < 0.12 else b"\n"
        text = ending.join(lines) + (ending if chance.random() < 0.8 else b"")
        made += [text] if number % 3 == 0 else []
    some = lambda most: b"".join(chance.choice(PIECES) for _ in range(chance.randint(0, most)))
    for number in range(2200):
        if number % 3 == 0:
            text = KEY + b"=" + some(7) + b"\nA=1\n"
        elif number % 3 == 1:
            text = b"A=" + some(7) + b"\n" + ours[0] + b"\nB=2\n"
        else:
            text = b"A=1\n" + some(5) + b"\n" + KEY + b"=" + chance.choice([b"", b"'", b'"']) + OLD + some(4) + b"\n" + some(5)
        made += [text] if number % 4 == 0 else []
    # A shell's own parameters are not the file's.
    return [text for text in dict.fromkeys(made) if not any(own in text for own in (b"$1", b"$2", b"$$"))]
