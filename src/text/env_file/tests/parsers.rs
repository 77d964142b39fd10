//! What real parsers read for `K`, measured: systemd 252 and 257, npm's dotenv 16 to 18, Node 20, dotenvy 0.15, Docker
//! Compose 1.29, 2.26 and 2.40, docker 20.10 and 28.2, pam_env 1.5 and 1.7, bash and dash.

use super::super::Dialect;

/// What a parser made of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It read this value.
    Read(&'static str),
    /// It read no value: there was none to it, or it gave up.
    Gone,
}
use Made::{Gone, Read};

/// A file, and what was made of it in the order of [`readers`].
pub type Case = (&'static str, [Made; 9]);

/// Which parsers a dialect stands for.
pub fn readers(dialect: Dialect) -> std::ops::Range<usize> {
    match dialect {
        Dialect::Systemd => 0..1,
        Dialect::Dotenv => 1..4,
        Dialect::Compose => 4..6,
        Dialect::Docker => 6..7,
        Dialect::Pam => 7..8,
        Dialect::Shell => 8..9,
    }
}

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    ("K=0123456789abcdef\n", [Read("0123456789abcdef"); 9]),
    ("K=ab+/cd+/Zz==\n", [Read("ab+/cd+/Zz=="); 9]),
    ("K=ab-_cd-_Zz\n", [Read("ab-_cd-_Zz"); 9]),
    ("K=a$TLAB-z\n", [Read("a$TLAB-z"), Read("a$TLAB-z"), Read("a$TLAB-z"), Read("aTV-z"), Read("a$TLAB-z"), Read("aTV-z"), Read("a$TLAB-z"), Read("a$TLAB-z"), Read("aTV-z")]),
    ("K=a${TLAB}z\n", [Read("a${TLAB}z"), Read("a${TLAB}z"), Read("a${TLAB}z"), Read("aTVz"), Read("a${TLAB}z"), Read("aTVz"), Read("a${TLAB}z"), Read("a${TLAB}z"), Read("aTVz")]),
    ("K=a$NOPE-z\n", [Read("a$NOPE-z"), Read("a$NOPE-z"), Read("a$NOPE-z"), Read("a-z"), Read("a$NOPE-z"), Read("a-z"), Read("a$NOPE-z"), Read("a$NOPE-z"), Read("a-z")]),
    ("K=a$$z\n", [Read("a$$z"), Read("a$$z"), Read("a$$z"), Read("a"), Read("a$$z"), Read("a$z"), Read("a$$z"), Read("a$$z"), Read("its pid")]),
    ("K=abc$\n", [Read("abc$"), Read("abc$"), Read("abc$"), Read("abc"), Read("abc$"), Read("abc$"), Read("abc$"), Read("abc$"), Read("abc$")]),
    ("K=a$(echo x)z\n", [Read("a$(echo x)z"), Read("a$(echo x)z"), Read("a$(echo x)z"), Gone, Read("a$(echo x)z"), Read("a$(echo x)z"), Read("a$(echo x)z"), Read("a$(echo x)z"), Read("axz")]),
    ("K='a$TLAB-z'\n", [Read("a$TLAB-z"), Read("a$TLAB-z"), Read("a$TLAB-z"), Read("a$TLAB-z"), Read("a$TLAB-z"), Read("a$TLAB-z"), Read("'a$TLAB-z'"), Read("a$TLAB-z"), Read("a$TLAB-z")]),
    ("K=\"a$TLAB-z\"\n", [Read("a$TLAB-z"), Read("a$TLAB-z"), Read("a$TLAB-z"), Read("aTV-z"), Read("a$TLAB-z"), Read("aTV-z"), Read("\"a$TLAB-z\""), Read("a$TLAB-z"), Read("aTV-z")]),
    ("K=a\\$TLAB-z\n", [Read("a$TLAB-z"), Read("a\\$TLAB-z"), Read("a\\$TLAB-z"), Read("a$TLAB-z"), Read("a\\$TLAB-z"), Read("a\\TV-z"), Read("a\\$TLAB-z"), Read("a\\$TLAB-z"), Read("a$TLAB-z")]),
    ("K=a#b\n", [Read("a#b"), Read("a"), Read("a"), Read("a#b"), Read("a#b"), Read("a#b"), Read("a#b"), Read("a"), Read("a#b")]),
    ("K=a #b\n", [Read("a #b"), Read("a"), Read("a"), Read("a"), Read("a"), Read("a"), Read("a #b"), Read("a "), Read("a")]),
    ("K=#ab\n", [Read("#ab"), Read(""), Read(""), Read(""), Read("#ab"), Read("#ab"), Read("#ab"), Read(""), Read("#ab")]),
    ("K=\"a #b\"\n", [Read("a #b"), Read("a #b"), Read("a #b"), Read("a #b"), Read("a #b"), Read("a #b"), Read("\"a #b\""), Read("a "), Read("a #b")]),
    ("K='a #b'\n", [Read("a #b"), Read("a #b"), Read("a #b"), Read("a #b"), Read("a #b"), Read("a #b"), Read("'a #b'"), Read("a "), Read("a #b")]),
    ("K=abcd # note\n", [Read("abcd # note"), Read("abcd"), Read("abcd"), Read("abcd"), Read("abcd"), Read("abcd"), Read("abcd # note"), Read("abcd "), Read("abcd")]),
    ("K=\"ab\" # note\n", [Read("ab# note"), Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read("\"ab\" # note"), Read("ab\" "), Read("ab")]),
    ("K=a b\n", [Read("a b"), Read("a b"), Read("a b"), Gone, Read("a b"), Read("a b"), Read("a b"), Read("a b"), Gone]),
    ("K=\"a b\"\n", [Read("a b"), Read("a b"), Read("a b"), Read("a b"), Read("a b"), Read("a b"), Read("\"a b\""), Read("a b"), Read("a b")]),
    ("K= ab\n", [Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read(" ab"), Read(" ab"), Gone]),
    ("K=ab  \n", [Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read("ab  "), Read("ab  "), Read("ab")]),
    ("K = ab\n", [Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read("ab"), Read("ab"), Gone, Gone, Gone]),
    ("  K=ab\n", [Read("ab"); 9]),
    ("K=\"abc\"\n", [Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("\"abc\""), Read("abc"), Read("abc")]),
    ("K='abc'\n", [Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("'abc'"), Read("abc"), Read("abc")]),
    ("K=`abc`\n", [Read("`abc`"), Read("abc"), Read("abc"), Read("`abc`"), Read("`abc`"), Read("`abc`"), Read("`abc`"), Read("`abc`"), Read("")]),
    ("K=a\"b\n", [Read("a\"b"), Read("a\"b"), Read("a\"b"), Gone, Read("a\"b"), Read("a\"b"), Read("a\"b"), Read("a\"b"), Gone]),
    ("K=a'b\n", [Read("a'b"), Read("a'b"), Read("a'b"), Gone, Read("a'b"), Read("a'b"), Read("a'b"), Read("a'b"), Gone]),
    ("K=\"a\\\"b\"\n", [Read("a\"b"), Read("a\\\"b"), Read("a\\"), Read("a\"b"), Read("a\"b"), Read("a\"b"), Read("\"a\\\"b\""), Read("a\\\"b"), Read("a\"b")]),
    ("K=\"a'b\"\n", [Read("a'b"), Read("a'b"), Read("a'b"), Read("a'b"), Read("a'b"), Read("a'b"), Read("\"a'b\""), Read("a'b"), Read("a'b")]),
    ("K='a\"b'\n", [Read("a\"b"), Read("a\"b"), Read("a\"b"), Read("a\"b"), Read("a\"b"), Read("a\"b"), Read("'a\"b'"), Read("a\"b"), Read("a\"b")]),
    ("K=\"a\"b\n", [Read("ab"), Read("\"a\"b"), Read("a"), Read("ab"), Gone, Read("a"), Read("\"a\"b"), Read("a\"b"), Read("ab")]),
    ("K=\"abc\nJ=2\n", [Read("abc\nJ=2\n"), Read("\"abc"), Read("\"abc"), Gone, Gone, Gone, Read("\"abc"), Read("abc"), Gone]),
    ("K=a\\b\n", [Read("ab"), Read("a\\b"), Read("a\\b"), Gone, Read("a\\b"), Read("a\\b"), Read("a\\b"), Read("a\\b"), Read("ab")]),
    ("K=a\\nb\n", [Read("anb"), Read("a\\nb"), Read("a\\nb"), Read("a\nb"), Read("a\\nb"), Read("a\\nb"), Read("a\\nb"), Read("a\\nb"), Read("anb")]),
    ("K=\"a\\nb\"\n", [Read("a\\nb"), Read("a\nb"), Read("a\nb"), Read("a\nb"), Read("a\nb"), Read("a\nb"), Read("\"a\\nb\""), Read("a\\nb"), Read("a\\nb")]),
    ("K='a\\nb'\n", [Read("a\\nb"), Read("a\\nb"), Read("a\\nb"), Read("a\\nb"), Read("a\\nb"), Read("a\\nb"), Read("'a\\nb'"), Read("a\\nb"), Read("a\\nb")]),
    ("K=ab\\\nJ=2\n", [Read("abJ=2"), Read("ab\\"), Read("ab\\"), Read("ab"), Read("ab\\"), Read("ab\\"), Read("ab\\"), Read("abJ=2"), Read("abJ=2")]),
    ("K=a\\\\b\n", [Read("a\\b"), Read("a\\\\b"), Read("a\\\\b"), Read("a\\b"), Read("a\\\\b"), Read("a\\\\b"), Read("a\\\\b"), Read("a\\\\b"), Read("a\\b")]),
    ("K='a\\b'\n", [Read("a\\b"), Read("a\\b"), Read("a\\b"), Read("a\\b"), Read("a\\b"), Read("a\\b"), Read("'a\\b'"), Read("a\\b"), Read("a\\b")]),
    ("K=\"a\nb\"\nJ=2\n", [Read("a\nb"), Read("a\nb"), Read("a\nb"), Read("a\nb"), Read("a\nb"), Read("a\nb"), Read("\"a"), Read("a"), Read("a\nb")]),
    ("K=žlutý€😀\n", [Read("žlutý€😀"); 9]),
    ("K=\n", [Read(""); 9]),
    ("K=\"\"\n", [Read(""), Read(""), Read(""), Read(""), Read(""), Read(""), Read("\"\""), Read(""), Read("")]),
    ("K\nJ=2\n", [Gone; 9]),
    ("export K=abc\n", [Gone, Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Gone, Read("abc"), Read("abc")]),
    ("K=abc\r\nJ=2\r\n", [Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc\r"), Read("abc\r")]),
    ("K=\"abc\"\r\nJ=2\r\n", [Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("abc"), Read("\"abc\""), Read("abc\"\r"), Read("abc\r")]),
    ("K=abc\rJ=2\r\n", [Read("abc"), Read("abc"), Read("abcJ=2"), Read("abc\rJ=2"), Read("abc"), Read("abc\rJ=2"), Read("abc\rJ=2"), Read("abc\rJ=2\r"), Read("abc\rJ=2\r")]),
    ("K=1\nK=2\n", [Read("2"); 9]),
    ("# c\nK=1\n", [Read("1"); 9]),
    ("; c\nK=1\n", [Read("1"), Read("1"), Gone, Gone, Read("1"), Gone, Gone, Read("1"), Gone]),
    ("# c \\\nK=1\n", [Gone, Read("1"), Read("1"), Read("1"), Read("1"), Read("1"), Read("1"), Read("1"), Read("1")]),
    ("K=abc", [Read("abc"); 9]),
    ("\u{feff}K=abc\n", [Gone, Read("abc"), Gone, Gone, Read("abc"), Read("abc"), Read("abc"), Gone, Gone]),
    ("K: abc\n", [Gone, Read("abc"), Gone, Gone, Gone, Read("abc"), Gone, Gone, Gone]),
    ("this is junk\nK=1\n", [Read("1"), Read("1"), Gone, Gone, Read("1"), Gone, Gone, Read("1"), Read("1")]),
    ("J=xx\nK=${J}y\n", [Read("${J}y"), Read("${J}y"), Read("${J}y"), Read("xxy"), Read("${J}y"), Read("xxy"), Read("${J}y"), Read("${J}y"), Read("xxy")]),
];
