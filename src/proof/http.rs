//! The `http` probe: a URL answers with a status.

use async_trait::async_trait;

use super::{Patience, Probe, Question, Trouble};
use crate::config::HttpProbe;
use crate::record::Evidence;
use crate::rotation::{Fault, FaultCode};
use crate::sys::http::{Call, line, send, shown};

#[async_trait]
impl Probe for HttpProbe {
    fn label(&self) -> String {
        format!("http {}", shown(&self.url))
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Evidence, Fault> {
        let mut patience = Patience::until(question.moment, question.deadline, self.timeout);
        loop {
            let trouble = match send(Call::new(&self.method, &self.url), patience.request()).await {
                Ok(reply) if reply.status == self.status => {
                    return Ok(Evidence::Http { url: shown(&self.url), status: reply.status });
                }
                Ok(reply) => {
                    let line = line(&self.method, &self.url);
                    let message = format!("{line} answered {}, not {}", reply.status, self.status);
                    let fault = Fault::new(FaultCode::ProbeFailed, message);
                    Trouble::of_status(reply.status, reply.retry_after(), fault)
                }
                Err(error) => Trouble::unanswered(&error, FaultCode::ProbeFailed),
            };
            patience.endure(trouble).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::Moment;
    use super::*;
    use crate::rotation::Generation;
    use crate::secret::SecretValue;

    /// Answers with these statuses in turn, the last one for ever.
    fn serve(statuses: &'static [u16]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for (count, stream) in listener.incoming().flatten().enumerate() {
                let mut stream = stream;
                let status = statuses[count.min(statuses.len() - 1)];
                let _ = stream.read(&mut [0; 4096]);
                let _ = write!(stream, "HTTP/1.1 {status} X\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
            }
        });
        format!("http://{address}/health?key=swordfish")
    }

    async fn ask(url: String, status: u16) -> Result<Evidence, Fault> {
        ask_for(Duration::from_millis(400), url, status).await
    }

    async fn ask_for(timeout: Duration, url: String, status: u16) -> Result<Evidence, Fault> {
        let value = SecretValue::new(b"value".to_vec());
        let probe = HttpProbe { url, method: "GET".to_owned(), status, timeout };
        assert!(!probe.label().contains("swordfish"));
        let (accepted, retired) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + Duration::from_secs(20);
        probe
            .ask(&Question {
                moment: Moment::Moved,
                primary: (Generation(1), &value),
                accepted,
                retired,
                workers: 1,
                at_leisure: false,
                deadline,
            })
            .await
    }

    #[tokio::test]
    async fn a_service_that_needs_a_moment_is_waited_for_and_its_query_is_not_recorded() {
        let seen = ask_for(Duration::from_secs(20), serve(&[503, 503, 200]), 200).await;
        let Ok(Evidence::Http { url, status }) = seen else { panic!("{seen:?}") };
        assert!(url.ends_with("/health?…") && status == 200, "{url}");
    }

    #[tokio::test]
    async fn another_status_is_told_with_how_long_it_was_seen() {
        let fault = ask(serve(&[503]), 200).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::ProbeFailed);
        assert!(fault.message.contains("/health?… answered 503, not 200, for 0."), "{fault}");
    }

    #[tokio::test]
    async fn a_redirect_is_a_status_like_any_other() {
        assert!(ask(serve(&[302]), 302).await.is_ok());
        assert!(ask(serve(&[302]), 200).await.unwrap_err().message.contains("answered 302, not 200"));
    }

    #[tokio::test]
    async fn nobody_listening_is_said_so() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let fault = ask(format!("http://{address}/"), 200).await.unwrap_err();
        assert!(fault.code == FaultCode::ProbeFailed && fault.message.contains("nobody listening"), "{fault}");
    }
}
