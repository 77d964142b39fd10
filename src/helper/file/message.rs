//! What the file helper is asked, and how it answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::super::LIMIT;
use super::super::pm2::Pm2Question;
use super::super::wake::Wake;
use super::since_boot;
use crate::secret::{SecretValue, digest, is_same_digest};
use crate::sys::edit::EditError;
use crate::text::Slot;

/// A question about a user's PM2, a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::helper) struct AskedOfPm2 {
    pub(in crate::helper) pm2: Pm2Question,
}

/// A file, with what is to be done with it: a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::helper) struct Request {
    pub(super) path: PathBuf,
    /// The places, each with what it is to have; none where it is only read.
    pub(super) slots: Vec<(Slot, Option<Asked>)>,
    /// Whether that is only tried, and the file left as it is.
    pub(super) rehearsed: bool,
    /// What is done afterwards, as the file's owner too; whether really, or only looked at.
    pub(super) wake: Option<(Wake, bool)>,
    /// When whoever asks gives up, as a time since the boot: after that nothing may be changed any more, since they count
    /// on that.
    pub(super) until: Duration,
}

/// What a place is to have.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Asked {
    /// In base64.
    pub(super) value: String,
    /// Which values it may replace; none where any.
    pub(super) only_over: Option<OnlyOver>,
}

/// Values by their digests, in hex: to recognise them does not need them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct OnlyOver {
    key: String,
    digests: Vec<String>,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.slots.iter_mut().filter_map(|(_, asked)| asked.as_mut()).for_each(|asked| asked.value.zeroize());
    }
}

/// What a place is to have.
pub struct Wanted<'a> {
    /// The value; empty where it is to have none.
    pub value: &'a [u8],
    /// What may stand there before, besides it; none where anything may. Where something else does, nothing is written.
    pub only_over: Option<Vec<&'a [u8]>>,
}

impl Wanted<'_> {
    fn asked(&self, key: &[u8; 32]) -> Asked {
        let digests = |known: &Vec<&[u8]>| {
            let all = known.iter().chain([&self.value]);
            OnlyOver { key: hex::encode(key), digests: all.map(|value| hex::encode(digest(key, value))).collect() }
        };
        Asked { value: STANDARD.encode(self.value), only_over: self.only_over.as_ref().map(digests) }
    }
}

impl OnlyOver {
    /// Whether that is one of them. A place that is not there has an empty value.
    pub(super) fn has(&self, value: Option<&SecretValue>) -> bool {
        let mut key = [0; 32];
        let Ok(()) = hex::decode_to_slice(&self.key, &mut key) else { return false };
        let found = hex::encode(digest(&key, value.map_or(&[], SecretValue::reveal)));
        self.digests.iter().any(|known| is_same_digest(Some(known), Some(&found)))
    }
}

/// The answer, a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::helper) enum Answer {
    /// What the file has.
    Has(Told),
    /// It is left as it is: the problem, and what to do about it.
    Refused(String, String),
}

/// What was seen of a file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::helper) struct Told {
    /// In base64.
    pub(super) values: Vec<Option<String>>,
    pub(super) plain: Vec<bool>,
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) obstacle: Option<(String, String)>,
    pub(super) by_hand: Option<ByHand>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

/// A file, as its own reader reads it.
pub struct Seen {
    /// What it has in each place that was asked for.
    pub values: Vec<Option<SecretValue>>,
    /// Which of them are written without quotes that rekeyd itself would write.
    pub plain: Vec<bool>,
    /// Whether others than its owner and group may read it.
    pub is_open: bool,
    /// Its owner's number.
    pub owner: u32,
    /// Why it could not be written.
    pub obstacle: Option<NotDone>,
    /// Where it has what nobody here has written: then nothing was written at all.
    pub by_hand: Option<ByHand>,
}

/// A place that has what nobody here has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// Which of those that were asked for, from 0.
    pub slot: usize,
    /// In which line it stands, from 1; none where the place is gone.
    pub line: Option<usize>,
}

/// Why a file is left as it is.
pub struct NotDone {
    /// What is wrong, and where.
    pub problem: String,
    /// What to do about it.
    pub advice: String,
}

impl NotDone {
    pub(super) fn into_parts(self) -> (String, String) {
        (self.problem, self.advice)
    }
}

impl From<EditError> for NotDone {
    fn from(error: EditError) -> Self {
        Self { problem: error.to_string(), advice: error.advice }
    }
}

impl Request {
    /// `key` is one for this request alone.
    pub(in crate::helper) fn new(path: &Path, slots: &[(Slot, Option<Wanted<'_>>)], key: &[u8; 32]) -> Self {
        let asked = slots.iter().map(|(slot, wanted)| (slot.clone(), wanted.as_ref().map(|wanted| wanted.asked(key))));
        let slots = asked.collect();
        Self { path: path.to_owned(), slots, rehearsed: false, wake: None, until: since_boot() + LIMIT }
    }

    pub(in crate::helper) fn rehearsal(path: &Path, slots: &[(Slot, Option<Wanted<'_>>)]) -> Self {
        let mut request = Self::new(path, slots, &[0; 32]);
        request.rehearsed = true;
        request
    }

    pub(in crate::helper) fn wake(path: &Path, wake: Wake, really: bool) -> Self {
        let mut request = Self::new(path, &[], &[0; 32]);
        request.wake = Some((wake, really));
        request
    }

    pub(super) fn check_wanted(&self) -> Result<(), NotDone> {
        if since_boot() <= self.until {
            return Ok(());
        }
        let problem = format!("{}: it took longer than {} s", self.path.display(), LIMIT.as_secs());
        Err(NotDone { problem, advice: "see what keeps its file system busy, and try again".to_owned() })
    }
}

impl Answer {
    pub(super) fn seen(self) -> Result<Seen, NotDone> {
        match self {
            Self::Has(told) => {
                let decoded = told.values.iter().map(|value| {
                    let bytes = value.as_ref().map(|value| STANDARD.decode(value).unwrap_or_default());
                    bytes.map(SecretValue::new)
                });
                let obstacle = told.obstacle.clone().map(|(problem, advice)| NotDone { problem, advice });
                Ok(Seen {
                    values: decoded.collect(),
                    plain: told.plain.clone(),
                    is_open: told.mode & 0o007 != 0,
                    owner: told.owner,
                    obstacle,
                    by_hand: told.by_hand,
                })
            }
            Self::Refused(problem, advice) => Err(NotDone { problem, advice }),
        }
    }
}
