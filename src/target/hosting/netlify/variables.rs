//! A site's variables: one context of one is written at a time.

use tokio::time::Instant;

use super::Netlify;
use super::shapes::{Created, Patch, Variable};
use crate::config::Context;
use crate::rotation::FaultCode;
use crate::target::hosting::answer::{Intent, Kind};
use crate::target::hosting::api::{Refusal, Request, Said, json};
use crate::target::hosting::missing;
use crate::target::hosting::platform::Times;

impl Netlify {
    /// A variable of the site; none where it has none of its own.
    pub(super) async fn variable(&self, key: &str, until: Instant) -> Said<Option<Variable>> {
        let account = self.account(until).await?;
        let path = ["accounts", account.as_str(), "env", key];
        match self.api.ask(Request::get(&path, &[("site_id", self.site())]), until).await {
            Ok(answer) => Ok(Some(answer.read()?)),
            Err(Refusal { kind: Kind::Missing, .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// A variable of the team that the site inherits must not be written, since all its sites have it.
    pub(super) async fn check_not_shared(&self, key: &str, until: Instant) -> Said<()> {
        let account = self.account(until).await?;
        match self.api.ask(Request::get(&["accounts", account.as_str(), "env", key], &[]), until).await {
            Ok(_) => {
                let text = format!(
                    "{key} is a variable of the whole team of {}, and writing it would change every site",
                    self.label
                );
                Err(Refusal::obstacle(FaultCode::PlatformRefused, text, "give the site a variable of its own"))
            }
            Err(Refusal { kind: Kind::Missing, .. }) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    async fn set(&self, key: &str, context: &Context, value: &str, until: Instant) -> Said<Variable> {
        let account = self.account(until).await?;
        let path = ["accounts", account.as_str(), "env", key];
        let (name, parameter) = context.wire();
        let body = json(&Patch { context: name, context_parameter: parameter, value })?;
        let query = [("site_id", self.site())];
        let request = Request::to(Intent::Write, "PATCH", &path, &query).with(body);
        let variable: Variable = match self.api.ask(request, until).await?.read() {
            Ok(variable) => variable,
            // Its status says that it was written; what a gateway makes of the body does not undo that.
            Err(_) => {
                let now = self.variable(key, until).await.map_err(Refusal::taken)?;
                now.ok_or_else(|| missing(&self.label, &[key.to_owned()]).taken())?
            }
        };
        if !variable.has(context) {
            let text = format!("{} says that {key} was written, and shows no value for {name}", self.label);
            return Err(Refusal::obstacle(FaultCode::ReadBackDiffers, text, "see what the variable has there").taken());
        }
        Ok(variable)
    }

    /// Makes the variable; or finds that it is there, where an earlier try that was not answered has made it.
    pub(super) async fn create(&self, key: &str, value: &str, until: Instant) -> Said<bool> {
        self.check_not_shared(key, until).await?;
        let account = self.account(until).await?;
        let values = self.settings.contexts.iter().map(|context| {
            let (context, context_parameter) = context.wire();
            Patch { context, context_parameter, value }
        });
        let body = json(&[Created { key, values: values.collect(), is_secret: self.settings.may_be_secret() }])?;
        let path = ["accounts", account.as_str(), "env"];
        let query = [("site_id", self.site())];
        let request = Request::to(Intent::Write, "POST", &path, &query).with(body);
        let Err(refusal) = self.api.ask(request, until).await else { return Ok(true) };
        let may_be_there = refusal.taken && refusal.kind.is_refusal();
        if may_be_there && self.variable(key, until).await.is_ok_and(|variable| variable.is_some()) {
            return Ok(false);
        }
        Err(refusal)
    }

    /// Writes the variable that is there, in all contexts that are meant.
    pub(super) async fn write_over(&self, key: &str, value: &str, until: Instant) -> Said<Times> {
        let was = self.variable(key, until).await?.ok_or_else(|| missing(&self.label, &[key.to_owned()]))?;
        let mut times = Times { was: was.updated(), now: None, at: None };
        for (count, context) in self.settings.contexts.iter().enumerate() {
            let set = self.set(key, context, value, until).await;
            let now = set.map_err(|refusal| if count > 0 { refusal.taken() } else { refusal })?;
            if was.is_secret != now.is_secret {
                let text = format!("{} made {key} readable, or a secret, with its value", self.label);
                return Err(Refusal::obstacle(FaultCode::ReadBackDiffers, text, "make it there what it was").taken());
            }
            times.now = times.now.or(now.updated());
            times.at = times.at.max(now.updated());
        }
        Ok(times)
    }

    pub(super) fn not_taken(&self, key: &str) -> Refusal {
        let text = format!("{} says that {key} was written, and shows it unchanged", self.label);
        Refusal::obstacle(FaultCode::ReadBackDiffers, text, "see who else writes it").taken()
    }
}
