//! The part of systemd's unit files that we write and read: assignments in quotes, as systemd.syntax(7) and
//! `Environment=` in systemd.exec(5) describe them.

use zeroize::Zeroizing;

/// The value of `Environment=` that assigns `value` to `name`, whatever is in it.
///
/// # Errors
/// Why no unit file can hold it.
pub fn assignment(name: &str, value: &[u8]) -> Result<Zeroizing<String>, String> {
    let refused = |why: &str| Err(format!("the value of {name} {why}"));
    let Ok(text) = std::str::from_utf8(value) else { return refused("is not UTF-8") };
    if text.is_empty() {
        return refused("is empty");
    }
    if text.contains('\0') {
        return refused("has a NUL character");
    }
    // Reserved at once, since a buffer that grows leaves copies of what it held.
    let mut quoted = Zeroizing::new(String::with_capacity(4 * text.len() + name.len() + 3));
    quoted.push('"');
    quoted.push_str(name);
    quoted.push('=');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' => quoted.push_str("%%"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

/// The value that an assignment in quotes gives to `name`; `None` where it is another one's, or not of our writing.
pub fn assigned(quoted: &str, name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let inside = quoted.trim().strip_prefix('"')?.strip_suffix('"')?;
    let mut rest = inside.strip_prefix(name)?.strip_prefix('=')?.bytes();
    let mut value = Zeroizing::new(Vec::with_capacity(inside.len()));
    while let Some(byte) = rest.next() {
        value.push(match byte {
            b'\\' => match rest.next()? {
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                escaped @ (b'"' | b'\\') => escaped,
                _ => return None,
            },
            b'%' => rest.next().filter(|&byte| byte == b'%')?,
            b'"' => return None,
            other => other,
        });
    }
    Some(value)
}

/// The directives of one section, in order, lines that go on joined: systemd.syntax(7).
pub fn directives(text: &str, section: &str) -> Vec<(String, String)> {
    let mut is_inside = false;
    let mut found = Vec::new();
    let mut pending = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(start) = line.strip_suffix('\\') {
            pending += start;
            pending.push(' ');
            continue;
        }
        let line = std::mem::take(&mut pending) + line;
        if line.starts_with('[') {
            is_inside = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) == Some(section);
        } else if is_inside && let Some((directive, value)) = line.split_once('=') {
            found.push((directive.trim().to_owned(), value.trim().to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_unit_file_would_expand_is_escaped() {
        assert_eq!(*assignment("K", b"a\"b\\c%d\n$e").unwrap(), r#""K=a\"b\\c%%d\x0a$e""#);
        for bad in [&b""[..], b"a\0b", b"\xff"] {
            assert!(assignment("K", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_of_our_writing_is_not_read() {
        for other in ["K=a", "\"L=a\"", "\"K=a\" \"L=b\"", "\"K=%n\"", "\"K=\\u0041\"", "\"K=a"] {
            assert_eq!(assigned(other, "K"), None, "{other}");
        }
    }

    #[test]
    fn directives_are_read_as_systemd_reads_them() {
        let text = "EnvironmentFile=/no\n[Service]\n# EnvironmentFile=/no\nEnvironmentFile = -/etc/a \n\
                    UnsetEnvironment=A \\\n; no\n  B\n[Unit]\nX=y\n";
        let expected = [("EnvironmentFile", "-/etc/a"), ("UnsetEnvironment", "A  B")];
        assert_eq!(directives(text, "Service"), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in "[^\0]{1,60}") {
            let quoted = assignment("K", value.as_bytes()).unwrap();
            prop_assert!(!quoted.contains('\n'));
            let read = assigned(&quoted, "K").unwrap();
            prop_assert_eq!(read.as_slice(), value.as_bytes());
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,80}") {
            assigned(&text, "K");
            directives(&text, "Service");
        }
    }
}
