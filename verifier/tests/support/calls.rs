//! Random programs about contexts, helpers and sockets, as assembly text: mostly right, so that
//! what is wrong in them is met deep inside.

use std::fmt::Write;

use bpf::Hook;
use bpf::context;
use bpf::helper::{Arg, PROTOTYPES, Prototype, Return, prototype_on};

use bpf::generate::Random;

const MAPS: &str = "\
.map hash type=hash key=8 value=16 entries=4
.map array type=array key=4 value=16 entries=4
.map rings type=ringbuf entries=4096
.map queue type=queue key=0 value=8 entries=4
.map socks type=sockmap key=4 value=4 entries=2
.map progs type=prog_array key=4 value=4 entries=2
.map .rodata type=array key=4 value=256 entries=1
";
const MAP_NAMES: [&str; 7] = [
    "hash", "array", "rings", "queue", "socks", "progs", ".rodata",
];

/// What the generator takes r6 to r9 to hold: r6 is the context, the others change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Number,
    Packet,
    /// What a helper gave, checked for null or not.
    Given(Return, bool),
}

struct Writer {
    random: Random,
    hook: Hook,
    text: String,
    held: [Held; 3],
    labels: u32,
    open: Vec<(u32, u32)>,
}

impl Writer {
    fn line(&mut self, line: impl std::fmt::Display) {
        writeln!(self.text, "{line}").unwrap();
        // Labels stand so many statements on.
        for (_, left) in &mut self.open {
            *left = left.saturating_sub(1);
        }
        let random = &mut self.random;
        let text = &mut self.text;
        self.open.retain(|(label, left)| {
            let stays = *left > 0 || random.below(3) == 0;
            if !stays {
                writeln!(text, "l{label}:").unwrap();
            }
            stays
        });
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    fn number(&mut self) -> i64 {
        let numbers = [0, 1, 4, 8, 14, 16, 20, 40, 64, -1, 256, 65_535];
        numbers[self.below(numbers.len() as u64) as usize]
    }

    /// A place on the stack of which at least 64 bytes are written.
    fn stack(&mut self, register: usize) {
        let offset = if self.one_in(12) {
            8 * self.below(9)
        } else {
            64
        };
        self.line(format!("r{register} = r10"));
        self.line(format!("r{register} += -{offset}"));
    }

    fn load_fields(&mut self) {
        let fields = context::fields(&self.hook);
        let field = fields[self.below(fields.len() as u64) as usize];
        let size = match self.below(4) {
            0 => ["u8", "u16", "u32", "u64"][self.below(4) as usize],
            _ if field.size == 8 => "u64",
            _ if field.size == 1 => "u8",
            _ => "u32",
        };
        let offset = u64::from(field.offset) + if self.one_in(8) { self.below(4) } else { 0 };
        if self.one_in(6) {
            self.line(format!("*({size} *)(r6 + {offset}) = 1"));
        } else {
            self.line(format!("r0 = *({size} *)(r6 + {offset})"));
            if self.one_in(3) && field.kind == context::FieldKind::Scalar {
                let register = 7 + self.below(3) as usize;
                self.line(format!("r{register} = r0"));
                self.held[register - 7] = Held::Number;
            }
        }
    }

    /// A packet pointer in a register, of which some bytes are proved.
    fn packet(&mut self) {
        let register = 7 + self.below(3) as usize;
        let (data, end) = match self.hook {
            Hook::Tc { .. } => (76, 80),
            _ => (0, 4),
        };
        self.line(format!("r{register} = *(u32 *)(r6 + {data})"));
        self.line(format!("r1 = *(u32 *)(r6 + {end})"));
        self.line(format!("r2 = r{register}"));
        self.line("r2 += 64");
        self.line("if r2 > r1 goto out");
        self.held[register - 7] = Held::Packet;
    }

    fn access(&mut self) {
        let register = 7 + self.below(3) as usize;
        let offset = [0, 4, 8, 12, 14, 16, 24, 60, 62, 76][self.below(10) as usize];
        let size = ["u8", "u16", "u32", "u64"][self.below(4) as usize];
        let allowed = match self.held[register - 7] {
            Held::Packet => true,
            Held::Number | Held::Given(Return::Scalar | Return::Void, _) => self.one_in(30),
            Held::Given(_, checked) => checked || self.one_in(10),
        };
        if !allowed {
            return;
        }
        if self.one_in(4) {
            self.line(format!("*({size} *)(r{register} + {offset}) = 7"));
        } else {
            self.line(format!("r0 = *({size} *)(r{register} + {offset})"));
        }
    }

    fn spill(&mut self) {
        let (from, to) = (7 + self.below(3) as usize, 7 + self.below(3) as usize);
        self.line(format!("*(u64 *)(r10 - 72) = r{from}"));
        if self.one_in(2) {
            self.line(format!("r{to} = *(u64 *)(r10 - 72)"));
            self.held[to - 7] = self.held[from - 7];
        }
    }

    fn branch(&mut self) {
        let label = self.labels;
        self.labels += 1;
        let condition = match self.below(3) {
            0 => "r0 == 7",
            1 => "r8 > 3",
            _ => "r9 == 0",
        };
        self.line("r0 = *(u32 *)(r10 - 8)");
        self.line(format!("if {condition} goto l{label}"));
        let length = 1 + self.below(6) as u32;
        self.open.push((label, length));
    }

    fn check_null(&mut self) {
        for at in 0..3 {
            if let Held::Given(what, false) = self.held[at] {
                self.line(format!("if r{} == 0 goto out", at + 7));
                self.held[at] = Held::Given(what, true);
                return;
            }
        }
    }

    /// Gives back what must be.
    fn release(&mut self) {
        for at in 0..3 {
            let Held::Given(what, checked) = self.held[at] else {
                continue;
            };
            let by = match what {
                Return::RingbufRecordOrNull => "bpf_ringbuf_discard",
                Return::AcquiredSocketOrNull(_) => "bpf_sk_release",
                _ => continue,
            };
            if !checked && !self.one_in(8) {
                self.line(format!("if r{} == 0 goto out", at + 7));
            }
            self.line(format!("r1 = r{}", at + 7));
            self.line("r2 = 0");
            self.line(format!("call {by}"));
            self.held[at] = Held::Number;
            return;
        }
    }

    fn helper(&mut self) {
        let any = &PROTOTYPES[self.below(PROTOTYPES.len() as u64) as usize];
        // Some are worth more.
        let id = match self.below(6) {
            0 => [1, 12, 26, 84, 86, 95, 96, 98, 99, 131][self.below(10) as usize],
            _ => any.id,
        };
        let Some(prototype) = prototype_on(&self.hook, id) else {
            return;
        };
        let hard = |arg: &Arg| {
            matches!(
                arg,
                Arg::Kernel(..)
                    | Arg::PointerField
                    | Arg::Function
                    | Arg::StackOrNull
                    | Arg::SpinLock
            )
        };
        // The kernel bounds the CPU's number by the machine it runs on.
        let cpu = prototype.name == "bpf_get_smp_processor_id";
        if cpu
            || prototype.args.iter().any(hard)
            || matches!(prototype.ret, Return::Kernel(..))
            || (!prototype.allowed(&self.hook) && !self.one_in(40))
        {
            return;
        }
        self.arguments(prototype);
        self.line(format!("call {}", prototype.name));
        if prototype.ret != Return::Void && !self.one_in(4) || self.must_be_kept(prototype) {
            let register = 7 + self.below(3) as usize;
            self.line(format!("r{register} = r0"));
            self.held[register - 7] = Held::Given(prototype.ret, false);
        }
        if prototype.changes_packet {
            for held in &mut self.held {
                if *held == Held::Packet && self.random.below(8) != 0 {
                    *held = Held::Number;
                }
            }
        }
    }

    fn must_be_kept(&mut self, prototype: &Prototype) -> bool {
        matches!(
            prototype.ret,
            Return::RingbufRecordOrNull | Return::AcquiredSocketOrNull(_)
        ) && !self.one_in(8)
    }

    fn arguments(&mut self, prototype: &Prototype) {
        let socket = self.held.iter().position(|h| {
            matches!(
                h,
                Held::Given(
                    Return::AcquiredSocketOrNull(_)
                        | Return::SocketOrNull(_)
                        | Return::SameSocketOrNull(_),
                    true
                )
            )
        });
        let packet = self.held.iter().position(|h| *h == Held::Packet);
        for (arg, register) in prototype.args.iter().zip(1..) {
            if *arg == Arg::None {
                return;
            }
            if self.one_in(60) {
                let other = self.below(11);
                self.line(format!("r{register} = r{other}"));
                continue;
            }
            let given = match arg {
                Arg::CtxOrNull if self.one_in(2) => "0".to_owned(),
                Arg::Ctx | Arg::CtxOrNull => "r6".to_owned(),
                Arg::ConstMap => {
                    let map = MAP_NAMES[self.map_for(prototype)];
                    format!("map[{map}] ll")
                }
                Arg::Size | Arg::SizeOrZero | Arg::ConstAllocSize => {
                    let sizes = [8, 8, 16, 12, 36, 40, 64, 0, 65];
                    sizes[self.below(sizes.len() as u64) as usize].to_string()
                }
                Arg::Anything => self.number().to_string(),
                Arg::MapValueOrNull | Arg::MemOrNull if self.one_in(3) => "0".to_owned(),
                Arg::Socket | Arg::AcquiredSocket => {
                    let Some(at) = socket else {
                        self.line(format!("r{register} = *(u64 *)(r6 + 168)"));
                        self.line(format!("if r{register} == 0 goto out"));
                        continue;
                    };
                    format!("r{}", at + 7)
                }
                Arg::RingbufRecord => format!("r{}", 7 + self.below(3)),
                Arg::ConstStr => "map[.rodata][0] ll".to_owned(),
                _ => {
                    match packet {
                        Some(at) if self.one_in(3) => {
                            self.line(format!("r{register} = r{}", at + 7));
                        }
                        _ => self.stack(register),
                    }
                    continue;
                }
            };
            self.line(format!("r{register} = {given}"));
        }
    }

    fn map_for(&mut self, prototype: &Prototype) -> usize {
        if self.one_in(12) {
            return self.below(MAP_NAMES.len() as u64) as usize;
        }
        match prototype.id {
            12 => 5,
            87..=89 => 3,
            130..=134 => 2,
            1..=3 => [0, 1, 4][self.below(3) as usize],
            _ => 0,
        }
    }
}

/// A program of a seed, for XDP or tc.
pub fn text(seed: u64) -> (String, Hook) {
    let mut random = Random::new(seed);
    let hook = if random.below(3) == 0 {
        Hook::XDP
    } else {
        Hook::TC
    };
    let mut writer = Writer {
        random,
        hook,
        text: MAPS.to_owned(),
        held: [Held::Number; 3],
        labels: 0,
        open: Vec::new(),
    };
    writer.line("r6 = r1");
    for register in 7..=9 {
        writer.line(format!("r{register} = 0"));
    }
    writer.line("r0 = 0");
    for slot in 1..=9 {
        writer.line(format!("*(u64 *)(r10 - {}) = 0", 8 * slot));
    }
    for _ in 0..2 + writer.below(10) {
        match writer.below(10) {
            0 => writer.load_fields(),
            1 => writer.packet(),
            2 | 3 => writer.access(),
            4 => writer.spill(),
            5 => writer.branch(),
            6 => writer.check_null(),
            7 if writer.hook == Hook::TC && writer.one_in(3) => {
                writer.line("r0 = *(u16 *)skb[12]");
            }
            _ => writer.helper(),
        }
    }
    for _ in 0..3 {
        if !writer.one_in(6) {
            writer.release();
        }
    }
    for (label, _) in std::mem::take(&mut writer.open) {
        writeln!(writer.text, "l{label}:").unwrap();
    }
    writer.line("out:");
    writer.line("r0 = 0");
    writer.line("exit");
    (writer.text, writer.hook)
}
