//! What is done once a rotation is proven and before it ends: a logout with its receipt, and encrypting data anew.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::prove::found_workers;
use super::{Engine, micros};
use crate::config::HookSettings;
use crate::record::{Evidence, Happening, Hook, HookCame, RotationId};
use crate::rotation::{Fault, Intent};
use crate::store::StoreError;

/// Tokens from before a rotation, each with the number of the probe that can tell whether it is still accepted. They are
/// kept in memory alone: after a restart of the daemon there is no receipt.
#[derive(Default)]
pub struct Kept(Mutex<Vec<(usize, Zeroizing<String>)>>);

impl Kept {
    fn keep(&self, tokens: Vec<(usize, Zeroizing<String>)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    fn take(&self) -> Vec<(usize, Zeroizing<String>)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine<'_> {
    /// Before anything is touched: keeps a token of each probe that can log in, where a logout is to be proven.
    pub(super) async fn keep_tokens(&self, deadline: Instant) {
        if self.settings.logout.is_none() || self.intent() != Some(Intent::Rotate) {
            return;
        }
        let mut tokens = Vec::new();
        for (number, probe) in self.probes.iter().enumerate() {
            tokens.extend(probe.log_in(deadline).await.map(|token| (number, token)));
        }
        self.kept.keep(tokens);
    }

    pub(super) fn intent(&self) -> Option<Intent> {
        self.ledger.standing().transaction.as_ref().map(|transaction| transaction.plan.intent)
    }

    /// Does what is to follow on a proven rotation and was not done yet. What fails is recorded, and the new value stays.
    ///
    /// # Errors
    /// Where a record cannot be written.
    pub(super) async fn run_hooks(&mut self, id: &RotationId) -> Result<(), StoreError> {
        if self.intent() != Some(Intent::Rotate) {
            return Ok(());
        }
        let settings = self.settings;
        for (hook, of) in [(Hook::ReEncrypt, &settings.re_encrypt), (Hook::Logout, &settings.logout)] {
            let transaction = self.ledger.standing().transaction.as_ref();
            let is_done =
                transaction.is_some_and(|transaction| transaction.hooks.iter().any(|(done, _)| *done == hook));
            if let Some(of) = of.as_ref().filter(|_| !is_done) {
                self.record(Some(id), Happening::Hook { hook, came: HookCame::Began })?;
                let began = Instant::now();
                let came = self.run_hook(hook, of).await;
                let took_us = micros(began.elapsed());
                let came = match came {
                    Ok(receipt) => HookCame::Passed { took_us, receipt },
                    Err(fault) => HookCame::Failed { took_us, fault },
                };
                self.record(Some(id), Happening::Hook { hook, came })?;
            }
        }
        Ok(())
    }

    async fn run_hook(&self, hook: Hook, settings: &HookSettings) -> Result<Option<Evidence>, Fault> {
        self.host.hook(hook, settings).await?;
        if hook == Hook::ReEncrypt {
            return Ok(None);
        }
        let deadline = Instant::now() + settings.timeout;
        let mut receipt = None;
        for (number, token) in self.kept.take() {
            if let Some(probe) = self.probes.get(number) {
                receipt = Some(probe.refuses(&token, found_workers(self.found()), deadline).await?);
            }
        }
        Ok(receipt)
    }

    /// Before a value that encrypts is retired: has all data encrypted anew, where that was not done yet.
    pub(super) async fn encrypt_anew(&self) -> Result<Option<Evidence>, Fault> {
        let standing = self.ledger.standing();
        let is_done = standing.re_encrypted == standing.in_force.as_ref().map(|view| view.primary);
        let retires = self.intent() == Some(Intent::Retire);
        let Some(settings) = self.settings.re_encrypt.as_ref().filter(|_| retires && !is_done) else { return Ok(None) };
        let began = Instant::now();
        self.host.hook(Hook::ReEncrypt, settings).await?;
        Ok(Some(Evidence::ReEncrypted { took_us: micros(began.elapsed()) }))
    }
}
