//! Starting the program that makes workers, and asking it for one.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{FILES, HELLO, Workers};

/// How long the program may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// The program cannot be started.
    #[error(
        "{} cannot be started as a worker (errno {errno}): name the program nicbed, or put it \
         on PATH",
        program.display()
    )]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's error number.
        errno: i32,
    },
    /// It is another program, or another version of it.
    #[error(
        "{} does not answer as a worker: it must be nicbed {}",
        program.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Stranger {
        /// The program.
        program: PathBuf,
    },
    /// The system does not give what a worker needs.
    #[error("no {what} for a worker (errno {errno})")]
    System {
        /// What is missing.
        what: &'static str,
        /// The system's error number.
        errno: i32,
    },
    /// What a worker must load takes more than its request can hold.
    #[error("the program and its environment are too large for a worker")]
    TooLarge,
    /// The worker could not load what it was given.
    #[error("a worker cannot load the program: {what}")]
    Load {
        /// What failed there.
        what: &'static str,
    },
}

/// The program that makes workers, running.
#[derive(Debug)]
pub(crate) struct Spawner {
    socket: Option<OwnedFd>,
    process: Child,
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // Without its socket it ends, and its workers with it.
        self.socket = None;
        let _ = self.process.wait();
    }
}

fn system(what: &'static str) -> impl Fn(rustix::io::Errno) -> WorkerError {
    move |errno| WorkerError::System {
        what,
        errno: errno.raw_os_error(),
    }
}

impl Spawner {
    /// Starts it.
    pub(super) fn new(workers: &Workers) -> Result<Spawner, WorkerError> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(system("socket"))?;
        let program = workers.program().to_owned();
        let started = Command::new(&program)
            .args(workers.arguments())
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                return Err(WorkerError::Start { program, errno });
            }
        };
        set_socket_timeout(&ours, Timeout::Recv, Some(PATIENCE)).map_err(system("socket"))?;
        let mut hello = [0; HELLO.len() + 1];
        let got = recv(&ours, &mut hello, RecvFlags::empty());
        let spawner = Spawner {
            socket: Some(ours),
            process,
        };
        match got {
            Ok((_, len)) if hello.get(..len) == Some(HELLO) => Ok(spawner),
            _ => Err(WorkerError::Stranger { program }),
        }
    }

    /// Makes a worker with these files, the first of them the exchange; gives its process.
    pub(super) fn worker(&mut self, files: &[BorrowedFd<'_>]) -> Result<OwnedFd, WorkerError> {
        let socket = self.socket.as_ref().ok_or(WorkerError::Load {
            what: "its socket is closed",
        })?;
        let count = (files.len() as u32).to_le_bytes();
        for some in files.chunks(FILES) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(some));
            sendmsg(
                socket,
                &[IoSlice::new(&count)],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            )
            .map_err(system("request"))?;
        }
        let mut pid = [0; 4];
        let (_, len) = recv(socket, &mut pid, RecvFlags::empty()).map_err(system("answer"))?;
        let pid = i32::from_le_bytes(pid);
        let pid = (len == 4 && pid > 0).then(|| Pid::from_raw(pid)).flatten();
        let pid = pid.ok_or_else(|| system("process")(rustix::io::Errno::AGAIN))?;
        pidfd_open(pid, PidfdFlags::empty()).map_err(system("handle of a process"))
    }
}
