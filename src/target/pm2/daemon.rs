//! PM2 itself: called as its daemon's owner, never unless that daemon answers, in an environment built from nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Pm2Target;
use super::list::{self, Instance};
use crate::helper::{Pm2, Pm2Question, Running};
use crate::rotation::{Fault, FaultCode};
use crate::secret::random;
use crate::store::StoreError;
use crate::sys::command::{Command, Prints, Ran};

/// How often PM2 is asked for its list. Each time a Node is started for it, on the machine whose processes are waited for.
pub(super) const POLL: Duration = Duration::from_secs(1);
/// How long an app may be on its way to another state before it counts as it is.
pub(super) const REST: Duration = Duration::from_secs(20);
/// How long a question may take.
const LOOK: Duration = Duration::from_secs(30);

/// PM2 and its processes at one moment.
pub(super) struct State {
    pub pm2: Pm2,
    /// What values are told under.
    pub key: [u8; 32],
    pub all: Vec<Instance>,
}

impl State {
    /// The instances of an app.
    pub fn of(&self, app: &str) -> Vec<&Instance> {
        self.all.iter().filter(|instance| instance.app == app).collect()
    }

    /// The processes of an app that are not in PM2's list, or were not a moment ago.
    pub fn unlisted<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a Running> {
        let is_listed = |pid: u32| self.all.iter().any(|instance| instance.pid == pid);
        self.pm2.running.iter().filter(move |one| one.app == app && !is_listed(one.pid))
    }

    /// Whether all instances of some apps are so.
    pub fn are_all(&self, apps: &[String], so: fn(&Instance) -> bool) -> bool {
        self.all.iter().filter(|instance| apps.contains(&instance.app)).all(so)
    }
}

impl Pm2Target {
    /// Looks at the user's PM2 and at processes of it; values are told under `key`.
    pub(super) async fn ask(&self, pids: &[u32], key: &[u8; 32], tighten: bool) -> Result<Pm2, Fault> {
        let settings = &self.settings;
        let question = Pm2Question {
            user: settings.user.clone(),
            home: settings.home.clone(),
            pm2: settings.pm2.clone(),
            node: settings.node.clone(),
            ecosystem: settings.ecosystem.clone(),
            pids: pids.to_vec(),
            apps: settings.apps.clone(),
            variables: std::iter::once(&self.env).chain(&self.previous_env).cloned().collect(),
            key: hex::encode(key),
            tighten,
        };
        let answer = self.files.pm2(&question).await?;
        answer.map_err(|refused| Fault::new(FaultCode::UnitUnusable, refused.problem).advise(refused.advice))
    }

    /// What runs now.
    pub(super) async fn state(&self) -> Result<State, Fault> {
        let key = new_key()?;
        let pm2 = self.ask(&[], &key, false).await?;
        let ran = self.call(&pm2, &["-s", "jlist"], LOOK).await?;
        let Some(all) = list::parse(&ran.stdout, &self.env) else {
            let message = format!("pm2 jlist of {} gives no list", self.settings.user);
            return Err(Fault::new(FaultCode::UnitUnusable, message)
                .advise(format!("does it work as {}? pm2 list", self.settings.user)));
        };
        Ok(State { pm2, key, all })
    }

    /// The same, once it is there again: at boot, or while it is updated, it may take a while.
    pub(super) async fn state_when_up(&self, limit: Instant) -> Result<State, Fault> {
        loop {
            match self.state().await {
                Err(fault) if fault.code == FaultCode::UnitUnusable && Instant::now() < limit => sleep(POLL).await,
                state => return state,
            }
        }
    }

    /// The same, once no app of ours is on its way to another state, or until `limit`.
    pub(super) async fn state_at_rest(&self, limit: Instant) -> Result<State, Fault> {
        self.state_once(limit, Instance::is_at_rest).await
    }

    /// The same, once nobody's reload of our apps is under way, or until `limit`.
    pub(super) async fn state_between_reloads(&self, limit: Instant) -> Result<State, Fault> {
        self.state_once(limit, Instance::is_settled).await
    }

    async fn state_once(&self, limit: Instant, is_right: fn(&Instance) -> bool) -> Result<State, Fault> {
        loop {
            let state = self.state_when_up(limit).await?;
            if Instant::now() >= limit || state.are_all(&self.settings.apps, is_right) {
                return Ok(state);
            }
            sleep(POLL).await;
        }
    }

    /// Calls PM2. env(1) makes it a whole environment: PM2 gives an app all that it has itself.
    pub(super) async fn call(&self, pm2: &Pm2, words: &[&str], limit: Duration) -> Result<Ran, Fault> {
        let user = self.settings.user.as_str();
        let environment: BTreeMap<&str, String> = BTreeMap::from([
            ("HOME", pm2.directory.display().to_string()),
            ("LOGNAME", user.to_owned()),
            ("PATH", pm2.path.clone()),
            ("PM2_HOME", pm2.home.display().to_string()),
            ("USER", user.to_owned()),
        ]);
        let mut argv = vec!["/usr/bin/env".to_owned(), "-i".to_owned()];
        argv.extend(environment.iter().map(|(name, value)| format!("{name}={value}")));
        // What PM2 writes anew has secrets in it.
        argv.extend(["/bin/sh", "-c", "umask 077 && exec \"$@\"", "sh"].map(str::to_owned));
        argv.push(pm2.program.display().to_string());
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        let unit = format!("rekeyd-pm2-{}.service", self.secret);
        let command = Command {
            unit: &unit,
            description: &format!("PM2 of {user}"),
            argv: &argv,
            directory: self.settings.ecosystem.parent(),
            user: Some(user).into(),
            environment: Vec::new(),
            input: Vec::new(),
            value: None,
            limit,
            prints: Prints::ToCaller,
        };
        self.runner.run(&command).await.map_err(|error| {
            let message = format!("pm2 of {user}: {error}");
            Fault::new(FaultCode::UnitFailed, message)
                .advise(format!("can {user} read the ecosystem file's directory?"))
        })
    }
}

pub(super) fn new_key() -> Result<[u8; 32], Fault> {
    Ok(random().map_err(StoreError::from)?)
}
