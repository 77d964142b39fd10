//! One HTTP/1.1 request a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// What was asked.
#[derive(Default)]
pub struct Request {
    /// `GET /healthz`.
    pub line: String,
    /// The token of `Authorization: Bearer …`.
    pub bearer: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Reads a request.
pub fn read(stream: &TcpStream) -> io::Result<Request> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream);
    let mut request =
        Request { line: read_line(&mut lines)?.trim_end_matches(" HTTP/1.1").to_owned(), ..Request::default() };
    let mut length = 0;
    loop {
        let line = read_line(&mut lines)?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            "authorization" => request.bearer = value.trim().strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    lines.take(length).read_to_end(&mut request.body)?;
    Ok(request)
}

fn read_line(lines: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Answers a request.
pub fn answer(mut stream: &TcpStream, status: u16, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
