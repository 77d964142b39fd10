//! What the processes of an app show of the value, compared with what they should have.

use super::Pm2Target;
use super::daemon::new_key;
use super::list::Instance;
use crate::helper::Looked;
use crate::policy::{Has, Sighting};
use crate::rotation::{Fault, FaultCode};
use crate::secret::{SecretValue, digest, is_same_digest};
use crate::target::{Disclosed, Known};

/// What the instances of an app show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// With what they should have.
    pub matching: u32,
    /// With another value.
    pub other: u32,
    /// With the value, and another one to accept than they should have.
    pub accepts_others: u32,
    /// That show nothing: Node has read the value itself, after the start.
    pub hidden: u32,
    /// That may not be looked into.
    unreadable: u32,
}

impl Tally {
    pub(super) fn of(&self) -> u32 {
        self.matching + self.other + self.accepts_others + self.hidden + self.unreadable
    }
}

impl Pm2Target {
    /// Looks into the processes of instances.
    pub(super) async fn tally(&self, instances: &[&Instance], view: &Disclosed<'_>) -> Result<Tally, Fault> {
        let key = new_key()?;
        let pids: Vec<u32> = instances.iter().map(|instance| instance.pid).filter(|pid| *pid > 0).collect();
        let told = |value: &SecretValue| hex::encode(digest(&key, value.reveal()));
        let wanted = [Some(told(view.primary)), view.previous.map(told)];
        let empty = hex::encode(digest(&key, b""));
        let mut tally = Tally::default();
        for has in self.ask(&pids, &key, false).await?.processes {
            let has = match has {
                Looked::Unreadable => {
                    tally.unreadable += 1;
                    continue;
                }
                Looked::Gone => Vec::new(),
                Looked::Has(has) => has,
            };
            // A variable that is empty is as good as none.
            let has: Vec<Option<String>> = has.into_iter().map(|has| has.filter(|has| *has != empty)).collect();
            let same: Vec<bool> = has
                .iter()
                .zip(&wanted)
                .map(|(has, wanted)| is_same_digest(has.as_deref(), wanted.as_deref()))
                .collect();
            match has.first() {
                None | Some(None) => tally.hidden += 1,
                _ if same.iter().all(|same| *same) => tally.matching += 1,
                _ if same.first() == Some(&true) => tally.accepts_others += 1,
                _ => tally.other += 1,
            }
        }
        Ok(tally)
    }

    /// What the file and the processes have now, without a call of PM2.
    pub(super) async fn sightings(&self, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        let file = self.file(None).await?;
        // Each app may have one of its own in the file.
        let mut seen: Vec<Sighting> = Vec::new();
        for value in self.by_key(&file).into_iter().next().map(|(_, values)| values).unwrap_or_default() {
            let sighting = Sighting::file(self.path().display(), known.which(value));
            if !seen.contains(&sighting) {
                seen.push(sighting);
            }
        }
        let Ok(pm2) = self.ask(&[], known.key(), false).await else {
            seen.push(Sighting::unseen());
            return Ok(seen);
        };
        for app in &self.settings.apps {
            let has = |values: &Vec<Option<String>>| known.told(values.first().and_then(Option::as_deref));
            let all: Vec<Has> = pm2.running.iter().filter(|one| one.app == *app).map(|one| has(&one.values)).collect();
            let mut kinds: Vec<Has> = Vec::new();
            for has in &all {
                if !kinds.contains(has) {
                    kinds.push(*has);
                }
            }
            seen.extend(kinds.into_iter().map(|has| {
                let count = all.iter().filter(|other| **other == has).count();
                let place = format!("{count} of {} processes of {}", all.len(), self.unit(app));
                Sighting::process(place, has, self.reload_by_hand(app))
            }));
        }
        Ok(seen)
    }

    /// Whether nothing speaks against the view. Where no process shows what it has, the token of a probe must tell.
    pub(super) fn suffices(&self, tally: &Tally) -> bool {
        let is_hidden = tally.hidden > 0 && tally.hidden == tally.of();
        tally.of() > 0 && (tally.matching == tally.of() || is_hidden && self.has_value_probe)
    }

    /// What speaks against the view.
    pub(super) fn no_proof(&self, app: &str, view: &Disclosed<'_>, tally: &Tally) -> Fault {
        let (unit, env, generation, of) = (self.unit(app), &self.env, view.view.primary, tally.of());
        let environment = self.settings.environment.as_ref().map_or("env".to_owned(), |name| format!("env_{name}"));
        let ecosystem = self.settings.ecosystem.display();
        if tally.other > 0 {
            let message =
                format!("{} of {of} instances of {unit} have another {env} than generation {generation}", tally.other);
            return Fault::new(FaultCode::WrongValue, message).advise(format!(
                "see where they get it: `{environment}` in {ecosystem}, and the daemon's environment"
            ));
        }
        if let (1.., Some(previous)) = (tally.accepts_others, &self.previous_env) {
            let message = format!(
                "{} of {of} instances of {unit} have another {previous} than the view {} says",
                tally.accepts_others, view.view
            );
            return Fault::new(FaultCode::WrongValue, message)
                .advise(format!("does `{environment}` in {ecosystem} pass {previous} on?"));
        }
        if tally.unreadable > 0 {
            let message = format!("{} of {of} instances of {unit} may not be looked into", tally.unreadable);
            return Fault::new(FaultCode::NoValue, message).advise(format!(
                "they run as {} with its own group and without capabilities, or not at all: see `uid` and `gid` in \
                 {ecosystem}, and getcap of the node that they are run by; else use type = \"command\"",
                self.settings.user
            ));
        }
        let message = format!("{} of {of} instances of {unit} do not show what {env} they have", tally.hidden);
        Fault::new(FaultCode::NoValue, message).advise(format!(
            "where Node reads the env file itself, a token must prove it: add a [[probe]] with type = \"jwt\"; \
             else see `{environment}` in {ecosystem}"
        ))
    }
}
