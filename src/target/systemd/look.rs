//! What units have now: in what is delivered to them, and in their processes.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::SystemdTarget;
use super::delivery::LARGEST;
use super::tally::LeftOver;
use super::way::{Form, credential_path};
use crate::config::Activate;
use crate::dbus::unit::UnitStatus;
use crate::helper::{Answer, Question};
use crate::policy::{Has, Sighting};
use crate::rotation::{Fault, FaultCode};
use crate::secret::SecretValue;
use crate::sys::files;
use crate::target::Known;
use crate::text::systemd;

impl SystemdTarget {
    pub(super) async fn sightings(&self, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        let mut seen = Vec::new();
        if self.delivers {
            seen.extend(self.delivered(known));
            if self.root().join("current").symlink_metadata().is_ok() {
                seen.extend(self.units.iter().filter_map(|unit| self.lost_drop_in(unit)));
            }
            seen.extend(self.units.iter().filter_map(|unit| self.lost_view(unit)));
            seen.extend(self.sightings_left_behind());
        }
        for unit in &self.units {
            for name in self.running_as(unit).await? {
                let status = self.systemd.unit(&name).await?;
                // A job of a timer's is "activating" for as long as it works.
                let works = self.activate == Activate::None && status.active_state == "activating";
                // Through a reload processes keep the environment that they were started with: it says nothing.
                let tells = self.activate != Activate::Reload && status.active_state == "active";
                if tells || works {
                    seen.extend(self.running(&status, known).await?);
                }
            }
        }
        Ok(seen)
    }

    /// What stands in the files that units read from us. Where there are none, nothing was delivered yet.
    fn delivered(&self, known: &Known<'_>) -> Vec<Sighting> {
        let dir = self.root().join("current");
        let sighting = |form: &Form| {
            let path = dir.join(form.file(&self.env));
            let bytes = Zeroizing::new(files::read(&path, LARGEST).ok()?);
            let value = match form {
                Form::Variables => systemd::value_of(&bytes, &self.env),
                Form::Plain => Some(bytes),
                Form::Sealed => return None,
            };
            let has = known.which(value.map(|value| SecretValue::new(value.to_vec())).as_ref());
            Some(Sighting::file(path.display(), has))
        };
        Form::ALL.iter().filter_map(sighting).collect()
    }

    /// What somebody has written into a file of ours is not overwritten.
    pub(super) fn check_delivered(&self) -> Result<(), Fault> {
        let values = self.known_values();
        let known = Known::new(&values)?;
        let is_unknown = |sighting: &Sighting| matches!(sighting.has, Has::Unknown(_));
        let Some(edited) = self.delivered(&known).into_iter().find(is_unknown) else { return Ok(()) };
        let (name, units) = (&self.secret, self.units.join(" "));
        let message = format!("{} has a value that rekeyd does not know: it was edited by hand", edited.place);
        Err(Fault::new(FaultCode::WrongValue, message).advise(format!(
            "to keep the value, or to have the former one back: systemctl restart {units}, rekeyctl adopt {name}; then rekeyctl \
             rollback {name} brings back the former one"
        )))
    }

    /// Once something was delivered there is a drop-in; without it the unit would start with none.
    fn lost_drop_in(&self, unit: &str) -> Option<Sighting> {
        let path = self.drop_in(unit);
        let is_gone = std::fs::symlink_metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        is_gone.then(|| Sighting::lost(path.display(), self.again()))
    }

    /// A drop-in that points to what is not there any more: the next start of the unit would fail.
    fn lost_view(&self, unit: &str) -> Option<Sighting> {
        let drop_in = std::fs::read_to_string(self.drop_in(unit)).ok()?;
        let current = self.root().join("current");
        let names_it = drop_in.contains(&*current.to_string_lossy());
        let is_gone = |path: &Path| path.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        let files = Form::ALL.iter().map(|form| current.join(form.file(&self.env)));
        let is_named = |file: &PathBuf| drop_in.lines().any(|line| line.ends_with(&*file.to_string_lossy()));
        let named: Vec<_> = files.filter(is_named).collect();
        let lost = named.into_iter().find(|file| is_gone(file)).or_else(|| is_gone(&current).then_some(current))?;
        names_it.then(|| Sighting::lost(lost.display(), self.again()))
    }

    fn again(&self) -> String {
        format!("rekeyctl rotate {}", self.secret)
    }

    /// What the processes of a unit have: as a variable or a credential, since it may have been started before it was
    /// delivered to in another way.
    pub(super) async fn running(&self, status: &UnitStatus, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        let question = Question::Processes {
            control_group: status.control_group.clone(),
            pids: self.systemd.processes(&status.id).await?,
            variables: vec![self.env.clone()],
            credentials: vec![credential_path(&status.id, &self.env)],
            key: hex::encode(known.key()),
        };
        let Answer::Processes { processes } = self.helper.ask_one(question).await? else { return Ok(Vec::new()) };
        let mut counted: Vec<(Has, u32)> = Vec::new();
        let mut left_over = Vec::new();
        for process in &processes {
            let told = |all: &[Option<String>]| known.told(all.first().and_then(Option::as_deref));
            let of_credential = told(&process.credentials);
            let has = if of_credential == Has::Nothing { told(&process.digests) } else { of_credential };
            if let Some(one) = LeftOver::of(process, status) {
                left_over.push(Sighting::process(one.in_words(&status.id), has, format!("kill {}", one.pid)));
                continue;
            }
            match counted.iter_mut().find(|(other, _)| *other == has) {
                Some((_, count)) => *count += 1,
                None => counted.push((has, 1)),
            }
        }
        let of = processes.len();
        let sighting = |(has, count): (Has, u32)| {
            let place = format!("{count} of {of} processes of {}", status.id);
            let seen = if self.activate == Activate::None { Sighting::left_alone } else { Sighting::process };
            seen(place, has, format!("systemctl restart {}", status.id))
        };
        Ok(counted.into_iter().map(sighting).chain(left_over).collect())
    }
}
