//! Fields of contexts and sockets: which may be read or written, and how wide.

use bpf::context::{self, Field, SocketKind, Widths};

use super::mem::Place;
use crate::assertions::Touch;
use crate::report::{Problem, Rule};

impl Place<'_> {
    pub(super) fn context(&self, writes: bool, touch: Touch, size: u8) -> Result<(), Problem> {
        let offset = self.fixed();
        let reg = self.reg;
        if self.pointer.off != 0 || self.pointer.range.as_constant() != Some(0) {
            return Err(Problem::new(
                Rule::CtxAccess,
                format!(
                    "dereference of modified ctx ptr R{reg} off={}",
                    self.pointer.off
                ),
            )
            .about(format!("r{reg}"))
            .help("access context fields as constant offsets of the pointer given at entry"));
        }
        let signed = matches!(touch, Touch::Load { signed: true });
        let allowed = if writes {
            self.platform.context_store(offset, size)
        } else {
            self.platform.context_load(offset, size, signed).is_some()
        };
        if allowed {
            return Ok(());
        }
        let field = context::field_at(&self.platform.program.hook, offset);
        let why = match field {
            Some(field) if writes && field.store_on_device => format!(
                "`{}` can be written by a program that is bound to a device (--nic)",
                field.name
            ),
            Some(field) if writes => format!("`{}` cannot be written here", field.name),
            Some(field) if !context::readable(&self.platform.program.hook, field) => format!(
                "`{}` is only there for programs in a devmap (section xdp/devmap)",
                field.name
            ),
            Some(field) => describe_field(field),
            None => "the context has no field there".to_owned(),
        };
        Err(Problem::new(
            Rule::CtxAccess,
            format!("invalid bpf_context access off={offset} size={size}"),
        )
        .about(field.map_or("", |f| f.name))
        .why(why))
    }

    /// A field of a socket.
    pub(super) fn socket(&self, kind: SocketKind, writes: bool, size: u8) -> Result<(), Problem> {
        let offset = self.fixed();
        let problem = |why: String| {
            Problem::new(
                Rule::SocketAccess,
                format!(
                    "R{} invalid {} access off={offset} size={size}",
                    self.reg,
                    self.pointer.kind.name()
                ),
            )
            .why(why)
        };
        if writes {
            return Err(problem("sockets can only be read".to_owned()));
        }
        if context::socket_load(kind, offset, size).is_some() {
            return Ok(());
        }
        let field = context::socket_field_at(kind, offset);
        let why = match field {
            Some(field) if context::socket_load(SocketKind::Full, offset, size).is_some() => {
                format!("only full sockets have `{}`", field.name)
            }
            Some(field) => describe_field(field),
            None => "a socket has no field there".to_owned(),
        };
        let problem = problem(why).about(field.map_or("", |f| f.name));
        Err(if kind == SocketKind::Common {
            problem.help("call bpf_sk_fullsock first, and leave if it gives null")
        } else {
            problem
        })
    }
}

/// How a field may be read.
fn describe_field(field: &Field) -> String {
    let Field {
        name, size, offset, ..
    } = field;
    match field.loads {
        Widths::None => format!("`{name}` is for other types of programs"),
        Widths::Whole => {
            format!("`{name}` is {size} bytes at offset {offset}, and is read as a whole")
        }
        Widths::Parts | Widths::Start | Widths::Half => format!(
            "`{name}` is {size} bytes at offset {offset}; a part of it is read aligned, and lies \
             in it as a whole"
        ),
    }
}
