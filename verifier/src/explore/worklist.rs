//! What is still to be explored, and how each path came to where it is.

use crate::domain::State;
use crate::transfer::SlotAt;
use crate::transfer::branch::Linked;

/// A node of the tree of paths.
pub(super) type NodeId = u32;

/// Index of a checkpoint.
pub(super) type CheckpointId = u32;

/// What stands at a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    /// Nothing yet.
    Root,
    /// An instruction was executed.
    Step {
        /// Slot.
        pc: u32,
        /// Slot stored to at a known offset.
        store: Option<SlotAt>,
        /// Slot whose spilled register was loaded.
        fill: Option<SlotAt>,
        /// Index of the linked values that a branch narrowed, plus 1; 0 for none.
        linked: u32,
    },
    /// An instruction ended a called function: its caller goes on.
    EarlyReturn,
    /// A helper called a function of the program.
    CalledBack,
    /// That function returned to the helper.
    CallbackReturn,
    /// A state was kept here.
    Checkpoint(CheckpointId),
}

/// Every instruction executed so far, as a tree: a path is a node and its ancestors, so that
/// branching copies nothing.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<(NodeId, Node)>,
    linked: Vec<Linked>,
}

impl Tree {
    /// The root.
    pub(super) const ROOT: NodeId = 0;

    /// A tree of one root.
    pub(super) fn new() -> Tree {
        Tree {
            nodes: vec![(0, Node::Root)],
            linked: Vec::new(),
        }
    }

    /// Adds a node below `parent`.
    pub(super) fn grow(&mut self, parent: NodeId, node: Node) -> NodeId {
        self.nodes.push((parent, node));
        (self.nodes.len() - 1) as NodeId
    }

    /// The node and its parent.
    pub(super) fn at(&self, node: NodeId) -> (NodeId, Node) {
        self.nodes[node as usize]
    }

    /// Keeps linked values for a step; 0 for none.
    pub(super) fn keep_linked(&mut self, linked: Linked) -> u32 {
        if linked.is_empty() {
            return 0;
        }
        self.linked.push(linked);
        self.linked.len() as u32
    }

    /// The linked values of a step.
    pub(super) fn linked(&self, index: u32) -> &[(u8, crate::transfer::branch::Place)] {
        match index.checked_sub(1) {
            Some(at) => &self.linked[at as usize],
            None => &[],
        }
    }
}

/// One path, where it is now.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// What is known.
    pub(super) state: State,
    /// The next instruction.
    pub(super) pc: usize,
    /// The branch behind which it waited, until it goes on.
    pub(super) from: Option<usize>,
    /// The last node.
    pub(super) node: NodeId,
    /// The nearest checkpoint above.
    pub(super) checkpoint: Option<CheckpointId>,
    /// By frame, slots wholly written since that checkpoint.
    pub(super) written: [u64; crate::check::MAX_FRAMES],
    /// Instructions since then.
    pub(super) insns: u32,
}
