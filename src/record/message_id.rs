//! The MESSAGE_IDs of our journal entries: one for each kind of event, explained in `packaging/rekeyd.catalog`.

/// Declares the ids, and the list of them for the tests.
macro_rules! message_ids {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)+) => {
        $($(#[$doc])* pub const $name: &str = $id;)+

        /// Every id with its name.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)+];
    };
}

message_ids! {
    /// A rotation, or a way back that a person asked for, was accepted.
    ROTATION_BEGAN = "01abc44fa8e141bd9ccef35379d13e99";
    /// A step's intent was recorded; it is about to act.
    STEP_BEGAN = "1c882dfd4dd547a896f3f59b19dbebf2";
    /// Something goes on in a step that takes long.
    STEP_GOES_ON = "f2d3f51c0c2a4cf0b8a6cd1e2a1f9c07";
    /// A step was done, with what it saw.
    STEP_PASSED = "5940a13a9a134df99fe432d499b76581";
    /// A view was delivered to a place that every local user can read, as the configuration allows.
    VALUE_EXPOSED = "0412b3f7c3cf4cedb1d0e0c77bcb1edf";
    /// A consumer failed soon after its rotation was committed; the previous value is being put back.
    FAILED_LATER = "5146c992694c49a99637049916496cba";
    /// A step failed, with the reason.
    STEP_FAILED = "3dacecaa4c924d7ab8dd2e3be7a0fb74";
    /// What was to follow on a proven rotation failed: a logout, or encrypting data anew.
    HOOK_FAILED = "07b739c7874b4962b149251f1bd9a3c1";
    /// The way back was taken.
    ROLLBACK_BEGAN = "467f786f939545c38595b97ebbc069da";
    /// The new value is in force and proven.
    ROTATION_COMMITTED = "7d6704d92bef493fb4484bd0747bb885";
    /// The old value is in force again and proven.
    ROTATION_ROLLED_BACK = "7563f58b1941442480ae8ee3b2798a17";
    /// Neither way could be proven: a person is needed.
    ROLLBACK_FAILED = "8a5b47b731e247848483b00b15b59e38";
    /// An obstacle was there beforehand: nothing was touched.
    ROTATION_REFUSED = "1c905267f49c4056ab179f85c80dd65a";
    /// The daemon goes on with what it was interrupted in.
    ROTATION_RESUMED = "c79b621e791d4f0b8a1ce51ff3dd6cb1";
    /// A secret's automation has stopped until a person releases it.
    SECRET_HELD = "e992a9da99314417a1f1f178774cb08c";
    /// A person ended a hold.
    SECRET_RELEASED = "9187ecbdf64240f683952180527e0674";
    /// The value in force was taken over.
    SECRET_ADOPTED = "206ab697a72b4c589fa0cfa727117dc5";
    /// A file or a process of a consumer is not as rekeyd left it.
    DRIFT_FOUND = "1f0a4f7d9f6b4f13a3fb1f36f1f9c2d4";
    /// All files and processes are as rekeyd left them again.
    DRIFT_GONE = "8c61e2f24c0f4a44b7d3a0a94f4b1f5e";
    /// A person paused a schedule.
    SCHEDULE_PAUSED = "df9a8ba14c1a46fa9cf3e3a8702eaead";
    /// A person resumed a schedule.
    SCHEDULE_RESUMED = "f6f1a6fe91004acf83184571d1cf1d18";
    /// A scheduled rotation was not started: paused, or outside its window.
    SCHEDULED_SKIPPED = "326bdca9ffae42f0a316c8bbbfd79340";
    /// A rotation that was rolled back will be tried again.
    RETRY_ARMED = "6923cc972d9447f48162cd0f84cb3387";
    /// The end of an overlap has its time.
    RETIRE_ARMED = "faf1a94a392e47c7a5678666eeed4a8b";
    /// The value of a generation was given to a person.
    VALUE_REVEALED = "c3dff9fcf83c45f799f0dd93a3e4b3d6";
    /// This host is searched for the values of a secret.
    VALUE_SEARCHED = "005e0a1e53dc420a880dd00703f45431";
    /// A rotation that was under way is not gone on with: its records are older than what was delivered.
    ROTATION_ABANDONED = "8d8f45f2e31e49128133d87df53e1804";
    /// A secret was let go of.
    SECRET_FORGOTTEN = "cf187c5c915f4e7093421afeee731d97";
    /// The store's key cannot be had: nothing can be done with values.
    STORE_LOCKED = "73196d3a3745452d9666d70eb163872e";
    /// The store's key can be had again.
    STORE_UNLOCKED = "605e5eeb8cc5430ebf4baba9ea744b18";
    /// The store's key was exported, imported or renewed, or the store was begun anew.
    KEY_CHANGED = "d7443ccc85e94bfeab47a402bfde7cb3";
    /// A notification did not arrive.
    NOTIFY_FAILED = "ca7e0a56ee87462bae3038fbfb6a133c";
    /// A configuration is in force.
    CONFIG_LOADED = "c5676375879a4c6895460355bba89ecc";
    /// A configuration has mistakes and was not put in force.
    CONFIG_REJECTED = "258325bb912c4aaa91e22f1b6e8345ea";
    /// Something around the rotations could not be done.
    TROUBLE = "e144d8dedf87461fbd86260457ca3316";
    /// A secret's records cannot be read: on hold.
    RECORD_UNREADABLE = "0456ce8bbf9d4836b1dcc75820200dfd";
    /// The daemon is ready.
    DAEMON_READY = "0b7fcb62ed7c48d2a83beffa6e6e678e";
    /// The daemon stops.
    DAEMON_STOPPING = "bd93018931ae4a9185102a414e08e760";
    /// The journal did not take entries in time.
    ENTRIES_DROPPED = "be33d6a3d87f42bbbf738cbb3581a6c8";
    /// The generator skipped a file that it could not use.
    GENERATOR_SKIPPED = "48d2bf9025624109a57accc36c83b29d";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn every_message_id_is_32_hex_digits_and_unique() {
        for (name, id) in ALL {
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{name}");
        }
        assert_eq!(ALL.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len(), ALL.len());
    }
}
