//! rtnetlink(7): a socket, messages, and their answers.
#![expect(unsafe_code, reason = "a netlink socket")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::sys;

/// Flags of a request (`NLM_F_*`): with an answer; and, to create what does not exist yet.
const REQUEST: u16 = 0x1 | 0x4;
const CREATE: u16 = 0x200 | 0x400;
/// Bytes of a `struct nlmsghdr`.
const HEADER: usize = 16;

/// What a message asks for (`RTM_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Ask {
    NewLink = 16,
    SetLink = 19,
    NewAddress = 20,
    DelAddress = 21,
    NewRoute = 24,
    NewNeighbour = 28,
}

impl Ask {
    fn flags(self) -> u16 {
        match self {
            Ask::NewLink | Ask::NewAddress | Ask::NewRoute | Ask::NewNeighbour => REQUEST | CREATE,
            Ask::SetLink | Ask::DelAddress => REQUEST,
        }
    }
}

/// A message: the fixed structure of its kind, then attributes.
#[derive(Debug)]
pub(super) struct Message {
    ask: Ask,
    body: Vec<u8>,
}

impl Message {
    /// With the fixed structure that belongs to `ask`.
    pub(super) fn new(ask: Ask, fixed: &[u8]) -> Message {
        Message {
            ask,
            body: fixed.to_vec(),
        }
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, id: u16, value: &[u8]) -> Message {
        self.body.extend(attribute(id, value));
        self
    }

    /// Adds an attribute of 32 bits.
    pub(super) fn with_u32(self, id: u16, value: u32) -> Message {
        self.with(id, &value.to_le_bytes())
    }
}

/// One attribute, to be put into another or behind each other.
pub(super) fn attribute(id: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_le_bytes().to_vec();
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Netlink> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: creates a descriptor, touches no memory.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Netlink(sys::owned(fd)))
    }

    /// Sends a message and waits for its answer.
    pub(super) fn ask(&self, message: &Message) -> io::Result<()> {
        // struct nlmsghdr: length, type, flags, number, sender.
        let mut bytes = ((message.body.len() + HEADER) as u32)
            .to_le_bytes()
            .to_vec();
        bytes.extend_from_slice(&(message.ask as u16).to_le_bytes());
        bytes.extend_from_slice(&message.ask.flags().to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&message.body);
        let socket = self.0.as_raw_fd();
        // SAFETY: the message is readable for its length.
        let sent = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answer = [0u8; 1024];
        // SAFETY: the answer is writable for its length.
        let got = unsafe { libc::recv(socket, answer.as_mut_ptr().cast(), answer.len(), 0) };
        if got < 20 {
            return Err(io::Error::last_os_error());
        }
        // struct nlmsgerr behind the header: the negative error number.
        match i32::from_le_bytes([answer[16], answer[17], answer[18], answer[19]]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}
