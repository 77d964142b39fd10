//! What a program prints: in memory, bounded, and read once the program has ended. It is no pipe, which would end with this
//! process, and with the pipe a tool in mid-way.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{OFlags, SealFlags, fcntl_add_seals, fcntl_setfl};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::command::PRINTED;
use super::files;

/// How often it is looked whether there is too much of it.
const LOOK: Duration = Duration::from_millis(50);

/// One stream of what a program prints, to be lent to the program as a descriptor. Writing to it neither fails nor waits, for
/// as long as the program has it; only what is too much is taken off its end, while this process is there.
pub struct Printed {
    file: Arc<File>,
    bound: AbortHandle,
}

impl Printed {
    /// # Errors
    /// Where there are no more descriptors.
    pub fn begin() -> std::io::Result<Self> {
        let file = Arc::new(files::in_memory("rekeyd-printed")?);
        // What is written after something was taken off leaves no hole.
        fcntl_setfl(&file, OFlags::APPEND)?;
        let bound = tokio::spawn(keep_bounded(Arc::clone(&file))).abort_handle();
        Ok(Self { file, bound })
    }

    /// What was printed until now. Others may have the descriptor for longer than the program lives: they write nothing more.
    pub fn end(self) -> Zeroizing<Vec<u8>> {
        let _ = fcntl_add_seals(&self.file, SealFlags::GROW);
        let there = self.file.metadata().map_or(0, |stat| stat.len());
        // All at once, since a buffer that grows leaves copies of what it held.
        let mut printed = Zeroizing::new(vec![0; PRINTED.min(usize::try_from(there).unwrap_or(PRINTED))]);
        let mut count = 0;
        while let Ok(more @ 1..) = self.file.read_at(&mut printed[count..], count as u64) {
            count += more;
        }
        printed.truncate(count);
        let _ = self.file.set_len(0);
        printed
    }
}

impl AsFd for Printed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        self.bound.abort();
    }
}

async fn keep_bounded(file: Arc<File>) {
    let most = PRINTED as u64;
    loop {
        sleep(LOOK).await;
        if file.metadata().is_ok_and(|stat| stat.len() > most) {
            let _ = file.set_len(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn start(script: &str, stdout: &Printed) -> Child {
        let stdout = stdout.as_fd().try_clone_to_owned().unwrap();
        Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::piped()).stdout(stdout).spawn().unwrap()
    }

    async fn end(mut child: Child) {
        drop(child.stdin.take());
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
        assert!(ended.await.unwrap().success());
    }

    #[test]
    fn a_program_goes_on_when_nobody_is_there_to_read_what_it_prints() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let told = dir.path().join("told");
        // More than a pipe holds, too.
        let script = format!("read -r _; head -c 200000 /dev/zero && echo reloaded && echo well >{}", told.display());
        let mut child = runtime.block_on(async { start(&script, &Printed::begin().unwrap()) });
        drop(runtime);
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(told).unwrap(), "well\n");
    }

    #[tokio::test]
    async fn what_is_printed_by_several_is_whole_and_in_order() {
        let printed = Printed::begin().unwrap();
        end(start("echo a; (echo b); /bin/echo c >>/dev/stdout; echo d", &printed)).await;
        assert_eq!(*printed.end(), b"a\nb\nc\nd\n");
    }

    #[tokio::test]
    async fn of_too_much_the_beginning_is_kept_and_the_program_ends_well() {
        let printed = Printed::begin().unwrap();
        end(start(&format!("echo first; head -c {} /dev/zero; sleep 0.5; echo last", 3 * PRINTED), &printed)).await;
        let there = printed.file.metadata().unwrap().len();
        assert!(there <= PRINTED as u64 + 5, "{there}");
        let text = printed.end();
        assert!(text.len() == PRINTED && text.starts_with(b"first\n\0"));
    }

    #[tokio::test]
    async fn what_outlives_the_program_writes_nothing_more() {
        let printed = Printed::begin().unwrap();
        let mut child = start("echo a; read -r _; echo b || exit 3", &printed);
        let left = Arc::clone(&printed.file);
        while left.metadata().unwrap().len() == 0 {
            sleep(LOOK).await;
        }
        assert_eq!(*printed.end(), b"a\n");
        drop(child.stdin.take());
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert_eq!((ended.code(), left.metadata().unwrap().len()), (Some(3), 0));
    }
}
