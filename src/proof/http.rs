//! The `http` probe: a URL answers with a status.

use async_trait::async_trait;

use super::{Patience, Probe, Question};
use crate::config::HttpProbe;
use crate::record::Evidence;
use crate::rotation::{Fault, FaultCode};
use crate::sys::http::{Call, HttpError, send};

#[async_trait]
impl Probe for HttpProbe {
    fn label(&self) -> String {
        format!("http {}", self.url)
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Evidence, Fault> {
        let mut patience = Patience::until(question.deadline, self.timeout);
        loop {
            let fault = match send(Call::new(&self.method, &self.url), patience.request()).await {
                Ok(reply) if reply.status == self.status => {
                    return Ok(Evidence::Http { url: self.url.clone(), status: reply.status });
                }
                Ok(reply) => Fault::new(
                    FaultCode::ProbeFailed,
                    format!("{} {} answered {}, not {}", self.method, self.url, reply.status, self.status),
                ),
                Err(HttpError::TimedOut) => {
                    Fault::new(FaultCode::ProbeTimeout, format!("{} {} did not answer in time", self.method, self.url))
                }
                Err(error) => Fault::new(FaultCode::ProbeFailed, format!("{} {} {error}", self.method, self.url)),
            };
            patience.again_after(fault).await?;
        }
    }
}
