//! [`Errno`]: what maps and helpers answer when they do not do what they were asked.

macro_rules! errnos {
    ($($variant:ident = $number:literal, $name:literal;)*) => {
        /// The error numbers of Linux that maps and helpers give.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        #[expect(missing_docs, reason = "the names of errno(3)")]
        pub enum Errno {
            $(#[error($name)] $variant,)*
        }

        impl Errno {
            /// All of them.
            pub const ALL: &'static [Errno] = &[$(Errno::$variant,)*];

            /// The number in asm-generic/errno.h, positive.
            pub const fn number(self) -> i64 {
                match self { $(Errno::$variant => $number,)* }
            }
        }
    };
}

errnos! {
    Eperm = 1, "EPERM";
    Enoent = 2, "ENOENT";
    E2big = 7, "E2BIG";
    Eagain = 11, "EAGAIN";
    Enomem = 12, "ENOMEM";
    Eacces = 13, "EACCES";
    Efault = 14, "EFAULT";
    Ebusy = 16, "EBUSY";
    Eexist = 17, "EEXIST";
    Enodev = 19, "ENODEV";
    Einval = 22, "EINVAL";
    Enospc = 28, "ENOSPC";
    Erange = 34, "ERANGE";
    Eoverflow = 75, "EOVERFLOW";
    Eopnotsupp = 95, "EOPNOTSUPP";
    Eafnosupport = 97, "EAFNOSUPPORT";
    Eproto = 71, "EPROTO";
    Ealready = 114, "EALREADY";
    Enotsupp = 524, "ENOTSUPP";
}

impl Errno {
    /// What a program finds in r0: the negative number, all 64 bits.
    pub const fn to_r0(self) -> u64 {
        (-self.number()) as u64
    }
}

/// What a helper that gives 0 or an error number leaves in r0.
pub const fn to_r0(result: Result<(), Errno>) -> u64 {
    match result {
        Ok(()) => 0,
        Err(errno) => errno.to_r0(),
    }
}
