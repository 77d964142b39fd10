//! As much of HTTP/1.1 as the stand-ins need: one request a connection, read as a whole.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use super::Fake;

/// A request.
pub struct Request {
    pub method: String,
    /// Decoded, with the base path.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.to_string() }
    }

    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    pub fn html(status: u16) -> Self {
        let headers = vec![("Content-Type".to_owned(), "text/html".to_owned())];
        Self { status, headers, body: "<html><body>Bad gateway</body></html>".to_owned() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn parts(&self) -> Vec<&str> {
        self.path.trim_start_matches('/').split('/').collect()
    }

    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// What is wrong with the form that all platforms want: parameters that are known, a body that is JSON and is said to
    /// be, or none.
    pub fn check(&self, parameters: &[&str], fields: Option<&[&str]>) -> Result<Value, String> {
        if let Some((name, _)) = self.query.iter().find(|(name, _)| !parameters.contains(&name.as_str())) {
            return Err(format!("unknown parameter {name}"));
        }
        let Some(fields) = fields else {
            return if self.body.is_empty() { Ok(Value::Null) } else { Err("a body where none belongs".to_owned()) };
        };
        if !self.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
            return Err("the body is not said to be JSON".to_owned());
        }
        let body = self.json().ok_or("the body is not JSON")?;
        for object in body.as_array().map_or_else(|| vec![&body], |list| list.iter().collect()) {
            let object = object.as_object().ok_or("the body is no object")?;
            if let Some(field) = object.keys().find(|field| !fields.contains(&field.as_str())) {
                return Err(format!("unknown field {field}"));
            }
        }
        Ok(body)
    }

    /// In the form in which it can be compared.
    pub fn line(&self) -> String {
        let query: Vec<String> = self.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let body = if self.body.is_empty() { String::new() } else { format!(" {}", self.body) };
        format!("{} {}{query}{body}", self.method, self.path)
    }
}

pub(super) fn serve(listener: &TcpListener, fake: &Fake) {
    for stream in listener.incoming().flatten() {
        let fake = fake.clone();
        std::thread::spawn(move || one(stream, &fake));
    }
}

fn one(mut stream: TcpStream, fake: &Fake) {
    let Some(request) = read(&stream) else { return };
    // Without an answer the connection just ends.
    let Some(answer) = fake.answer(&request) else { return };
    let mut text =
        format!("HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        text += &format!("{name}: {value}\r\n");
    }
    let _ = stream.write_all(format!("{text}\r\n{}", answer.body).as_bytes());
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decoded(k), decoded(v)));
    Some(Request { method, path: decoded(path), query: query.collect(), headers, body: String::from_utf8(body).ok()? })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair: String = rest.by_ref().take(2).map(char::from).collect();
            bytes.push(u8::from_str_radix(&pair, 16).unwrap_or(b'?'));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
