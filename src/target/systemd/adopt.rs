//! The value that the live units use now.

use std::collections::BTreeSet;

use super::SystemdTarget;
use crate::config::Activate;
use crate::dbus::unit::UnitStatus;
use crate::helper::{Answer, Question, Variable};
use crate::rotation::{Fault, FaultCode};
use crate::secret::SecretValue;

impl SystemdTarget {
    /// The value that all processes of all units agree on; of a unit that is stopped, what it would start with.
    pub(super) async fn adopted_value(&self) -> Result<SecretValue, Fault> {
        let mut agreed: Option<SecretValue> = None;
        let mut names = Vec::new();
        for unit in &self.units {
            names.extend(self.adoptable(unit).await?);
        }
        for unit in &names {
            let status = self.systemd.unit(unit).await?;
            if status.load_state != "loaded" {
                return Err(Fault::new(
                    FaultCode::UnitUnusable,
                    format!("{unit} cannot be loaded ({})", status.load_state),
                )
                .advise(format!("systemctl status {unit}")));
            }
            let value = if self.activate != Activate::Restart {
                // What it is started with next is in force, or what it has read again, whatever it was started with.
                match self.value_of_files(&status).await {
                    Err(fault) if fault.code == FaultCode::NoValue && status.active_state == "active" => {
                        self.value_of_processes(&status).await?
                    }
                    value => value?,
                }
            } else if status.active_state == "active" {
                match self.value_of_processes(&status).await {
                    // They may hide their environment.
                    Err(fault) if fault.code == FaultCode::NoValue && !self.allow_without.is_empty() => {
                        self.value_of_files(&status).await?
                    }
                    value => value?,
                }
            } else {
                self.value_of_files(&status).await?
            };
            if value.is_empty() {
                return Err(Fault::new(FaultCode::NoValue, format!("{} is empty in {unit}", self.env))
                    .advise("give it a value first, and restart it"));
            }
            match &agreed {
                Some(first) if !first.is_same(&value) => {
                    return Err(self.disagree(&self.units.join(", ")));
                }
                _ => agreed = Some(value),
            }
        }
        agreed.ok_or_else(|| Fault::new(FaultCode::NotConfigured, "the target has no unit"))
    }

    /// The names under which a unit is asked: of a template, of its instances that run; where there is none, of one as
    /// it would be.
    async fn adoptable(&self, unit: &str) -> Result<Vec<String>, Fault> {
        let names = self.loaded_as(unit).await?;
        let mut running = Vec::new();
        for name in &names {
            if names.len() == 1 || self.systemd.unit(name).await?.active_state == "active" {
                running.push(name.clone());
            }
        }
        Ok(if running.is_empty() { names.last().cloned().into_iter().collect() } else { running })
    }

    async fn value_of_processes(&self, status: &UnitStatus) -> Result<SecretValue, Fault> {
        let pids: BTreeSet<u32> = self.systemd.processes(&status.id).await?.into_iter().collect();
        let questions: Vec<Question> = pids
            .iter()
            .map(|&pid| {
                let control_group = status.control_group.clone();
                match self.credential(status) {
                    Some(path) => Question::ProcessCredential { control_group, pid, path },
                    None => Question::ProcessValue { control_group, pid, variable: self.env.clone() },
                }
            })
            .collect();
        let mut agreed: Option<SecretValue> = None;
        for answer in self.helper.ask(&questions).await? {
            let Answer::Variable { variable } = answer else { continue };
            let Some(value) = variable.value() else { continue };
            match &agreed {
                Some(first) if !first.is_same(&value) => {
                    return Err(self.disagree(&format!("the processes of {}", status.id)));
                }
                _ => agreed = Some(value),
            }
        }
        agreed.ok_or_else(|| self.in_no_process(status, pids.len()))
    }

    fn in_no_process(&self, status: &UnitStatus, processes: usize) -> Fault {
        let (id, env) = (&status.id, &self.env);
        if processes == 0 {
            let message = format!("{id} is active and has no process, so that nothing could prove a rotation");
            return Fault::new(FaultCode::NoValue, message).advise("name the unit whose processes use the value");
        }
        if self.inline(status).is_some() {
            let message = format!("{id} sets {env}, and none of its processes has it");
            let advice = format!("UnsetEnvironment=, or the program itself, takes it away: systemctl cat {id}");
            return Fault::new(FaultCode::NoValue, message).advise(advice);
        }
        Fault::new(FaultCode::NoValue, format!("no process of {id} has {env}"))
            .advise(format!("is it the right name? systemctl cat {id}"))
    }

    /// What a stopped unit would start with: the last environment file that sets it, else `Environment=`.
    async fn value_of_files(&self, status: &UnitStatus) -> Result<SecretValue, Fault> {
        if self.credential(status).is_some() {
            return self.value_of_credential(status).await;
        }
        let questions: Vec<Question> = status
            .environment_files
            .iter()
            .map(|(path, _)| Question::File { path: path.clone(), variable: self.env.clone(), reveal: true })
            .collect();
        let answers = self.helper.ask(&questions).await?;
        let told = answers.iter().rev().find_map(|answer| match answer {
            Answer::Variable { variable: variable @ Variable::Value(_) } => variable.value(),
            _ => None,
        });
        let inline = || self.inline(status).map(|value| SecretValue::new(value.as_bytes().to_vec()));
        told.or_else(inline).ok_or_else(|| {
            Fault::new(
                FaultCode::NoValue,
                format!("{} is not running, and nothing sets {} for it", status.id, self.env),
            )
            .advise(format!("is it the right name? systemctl cat {}", status.id))
        })
    }

    /// The unit that sets another value itself, where one does: its program takes that before what a file says.
    pub async fn sets_another(&self, value: &SecretValue) -> Result<Option<String>, Fault> {
        self.setting(|inline| !inline.is_same(value)).await
    }

    /// The unit whose `Environment=` has this value, where one does: it is told to every local user.
    pub(super) async fn sets_it_openly(&self, value: &SecretValue) -> Result<Option<String>, Fault> {
        self.setting(|inline| inline.is_same(value)).await
    }

    /// The first unit that sets such a value itself.
    async fn setting(&self, such: impl Fn(&SecretValue) -> bool + Send) -> Result<Option<String>, Fault> {
        for unit in &self.units {
            for name in self.adoptable(unit).await? {
                let status = self.systemd.unit(&name).await?;
                let inline = self.inline(&status).map(|text| SecretValue::new(text.as_bytes().to_vec()));
                if inline.is_some_and(|inline| such(&inline)) {
                    return Ok(Some(status.id));
                }
            }
        }
        Ok(None)
    }

    /// What `Environment=` says.
    fn inline<'s>(&self, status: &'s UnitStatus) -> Option<&'s str> {
        status.environment.iter().rev().find_map(|text| text.strip_prefix(&self.env)?.strip_prefix('='))
    }

    /// What a stopped unit would get as its credential, where that can be read without systemd.
    async fn value_of_credential(&self, status: &UnitStatus) -> Result<SecretValue, Fault> {
        let source = status.credentials.iter().find(|(name, path)| *name == self.env && path.starts_with('/'));
        if let Some((_, path)) = source {
            let answer = self.helper.ask_one(Question::Whole { path: path.clone() }).await?;
            if let Answer::Variable { variable } = &answer
                && let Some(value) = variable.value()
            {
                return Ok(value);
            }
        }
        let message = format!("{} is not running, and its credential {} cannot be read", status.id, self.env);
        Err(Fault::new(FaultCode::NoValue, message).advise(format!("start it first: systemctl start {}", status.id)))
    }

    fn disagree(&self, whom: &str) -> Fault {
        Fault::new(FaultCode::WrongValue, format!("{whom} do not agree on the value of {}", self.env))
            .advise("restart them so that all have the same value, then adopt it")
    }
}
