//! The program that makes workers.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};

use super::child::{self, Areas};
use super::{FILES, HELLO, filter, report};

/// Bytes of heap that a worker can use: it cannot ask for more.
const HEAP: usize = 256 << 20;

/// Why this process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Standard input is no socket.
    #[error("a worker is started by nicbed itself, with a socket as standard input ({0})")]
    Socket(rustix::io::Errno),
    /// The system does not give what a worker needs.
    #[error("no {what} for workers")]
    System {
        /// What is missing.
        what: &'static str,
    },
}

/// Makes workers until nobody asks any more. The process must have one thread and nothing on its
/// mind: it becomes a template.
///
/// # Errors
/// [`ServeError`].
pub fn serve() -> Result<(), ServeError> {
    let socket = rustix::stdio::stdin();
    let system = |what| ServeError::System { what };
    let areas = Areas::new().ok_or(system("memory"))?;
    let filter = filter::program().ok_or(system("filter of system calls"))?;
    prepare().ok_or(system("signal stack"))?;
    send(socket, HELLO, SendFlags::NOSIGNAL).map_err(ServeError::Socket)?;
    while let Some(files) = receive(socket).map_err(ServeError::Socket)? {
        // SAFETY: the process has one thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            die_with_parent();
            child::main(&areas, &filter, files);
        }
        drop(files);
        let answer = pid.to_le_bytes();
        send(socket, &answer, SendFlags::NOSIGNAL).map_err(ServeError::Socket)?;
    }
    Ok(())
}

/// A request's files; `None` where there are no more requests.
fn receive(socket: impl AsFd) -> rustix::io::Result<Option<Vec<OwnedFd>>> {
    let mut files = Vec::new();
    loop {
        let mut count = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut count)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if received.bytes != count.len() || received.flags.contains(ReturnFlags::CTRUNC) {
            return Ok(None);
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                files.extend(more);
            }
        }
        if files.len() >= u32::from_le_bytes(count) as usize {
            return Ok(Some(files));
        }
    }
}

/// What all workers inherit: handlers and their stack, a heap that needs no system call.
fn prepare() -> Option<()> {
    // A message about a panic would be a system call.
    std::panic::set_hook(Box::new(|_| {}));
    report::install();
    let stack = super::guarded::Guarded::new(64 << 10)?.range();
    let stack = libc::stack_t {
        ss_sp: std::ptr::with_exposed_provenance_mut(stack.start as usize),
        ss_flags: 0,
        ss_size: (stack.end - stack.start) as usize,
    };
    // SAFETY: the stack is mapped for ever, and used by nobody else.
    let failed = unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) } != 0;
    // Nobody asks what became of a worker: none stays behind when it ends.
    // SAFETY: ignoring a signal touches no memory.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    grow_heap();
    (!failed).then_some(())
}

/// Lets the allocator ask for all its memory now, and keep it.
#[cfg(target_env = "gnu")]
fn grow_heap() {
    for (option, value) in [
        (libc::M_MMAP_THRESHOLD, i32::MAX),
        (libc::M_TRIM_THRESHOLD, i32::MAX),
    ] {
        // SAFETY: sets an option of the allocator.
        unsafe { libc::mallopt(option, value) };
    }
    // SAFETY: a block that is not used.
    let block = unsafe { libc::malloc(HEAP) };
    // SAFETY: it came from `malloc`.
    unsafe { libc::free(block) };
}

#[cfg(not(target_env = "gnu"))]
fn grow_heap() {}

/// Ends this process when the one that made it ends.
fn die_with_parent() {
    // SAFETY: sets an attribute of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}
