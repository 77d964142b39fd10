//! On which ports processes listen: proc(5).

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};

/// Those from which the kernel gives out ports by itself, where it does not say: they mean nothing after a restart.
const EPHEMERAL: u16 = 32768;

/// The TCP ports on which these processes listen, but for those that the kernel has given out.
pub(super) fn ports(pids: impl Iterator<Item = u32>) -> BTreeSet<u16> {
    let ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let first = ephemeral.and_then(|range| range.split_whitespace().next()?.parse().ok()).unwrap_or(EPHEMERAL);
    let mut ports = BTreeSet::new();
    for pid in pids {
        let sockets = sockets(pid);
        if sockets.is_empty() {
            continue;
        }
        for table in ["tcp", "tcp6"] {
            // In the network namespace of the process. Those that listen come first: the others, tens of thousands on a busy
            // machine, would take seconds.
            let Ok(file) = fs::File::open(format!("/proc/{pid}/net/{table}")) else { continue };
            let lines = BufReader::new(file).lines().skip(1).map_while(Result::ok);
            let listening = lines.map_while(|line| listening(&line));
            ports.extend(listening.filter(|(_, socket)| sockets.contains(socket)).map(|(port, _)| port));
        }
    }
    ports.retain(|port| *port < first);
    ports
}

/// The numbers of the sockets that a process has open.
fn sockets(pid: u32) -> BTreeSet<u64> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok()?.into_os_string().into_string().ok());
    targets.filter_map(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// The port and the number of the socket, of a line of /proc/net/tcp that is in the state LISTEN.
fn listening(line: &str) -> Option<(u16, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, "0A", ..] = fields.as_slice() else { return None };
    let (_, port) = local.rsplit_once(':')?;
    Some((u16::from_str_radix(port, 16).ok()?, fields.get(9)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
        assert_eq!(listening(line), Some((3000, 4711)));
        assert_eq!(listening(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(listening(""), None);
    }

    #[test]
    fn a_port_of_a_process_is_found_and_one_that_the_kernel_gave_out_is_not() {
        let given = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = (20_000..30_000).find_map(|port| TcpListener::bind(("::1", port)).ok()).unwrap();
        let found = ports(std::iter::once(std::process::id()));
        assert!(found.contains(&own.local_addr().unwrap().port()), "{found:?}");
        assert!(!found.contains(&given.local_addr().unwrap().port()), "{found:?}");
        assert!(ports(std::iter::once(u32::MAX)).is_empty());
    }
}
