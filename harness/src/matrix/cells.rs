//! Programs and NICs to cells, on all cores; the result does not depend on how many there are.

use std::sync::Arc;

use bpf::finding::Stage;
use bpf::{Program, Refused};
use caps::Caps;
use jit_backends::Loaded;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use super::{Cell, Row};
use crate::decide::Verdict;
use crate::pipeline::{self, Assessment};
use crate::progress::Done;

/// A program of an object, or what stands in its place.
#[derive(Clone, Debug)]
pub enum Input {
    /// A program to assess.
    Program {
        /// Object as the user named it.
        object: String,
        /// The program.
        program: Arc<Program>,
    },
    /// One that the loader refuses.
    Refused {
        /// Object as the user named it.
        object: String,
        /// Name and finding.
        refused: Box<Refused>,
        /// Whether it has a packet hook, so that a NIC would be asked.
        has_hook: bool,
    },
    /// An object that cannot be read.
    Unreadable {
        /// Object as the user named it.
        object: String,
        /// Why.
        error: String,
    },
}

/// The rows of `inputs`, in their order. The programs of an object are loaded one after the
/// other: what a NIC's driver learns of one counts for the next. `done` is told of each row.
pub fn rows(inputs: &[Input], nics: &[Arc<Caps>], done: &Done<'_>) -> Vec<Row> {
    let together = |a: &Input, b: &Input| match (a, b) {
        (Input::Program { object: a, .. }, Input::Program { object: b, .. }) => a == b,
        _ => false,
    };
    let groups: Vec<&[Input]> = inputs.chunk_by(together).collect();
    let rows = groups.par_iter().map(|group| {
        let rows = rows_of(group, nics);
        done(rows.len() as u64);
        rows
    });
    rows.flatten_iter().collect()
}

/// The rows of programs of one object, or of what stands in their place.
fn rows_of(group: &[Input], nics: &[Arc<Caps>]) -> Vec<Row> {
    let programs: Vec<Arc<Program>> = group
        .iter()
        .filter_map(|input| match input {
            Input::Program { program, .. } => Some(Arc::clone(program)),
            _ => None,
        })
        .collect();
    let columns = nics.par_iter().map(|nic| {
        let backend = jit_backends::by_name(&nic.backend);
        pipeline::assess_all(&programs, nic, Loaded::default(), backend)
    });
    let mut columns: Vec<_> = columns.map(Vec::into_iter).collect();
    let rows = group.iter().map(|input| match input {
        Input::Program { .. } => {
            let cells = columns.iter_mut().filter_map(Iterator::next);
            row(input, nics, cells.map(cell).collect())
        }
        _ => row(input, nics, Vec::new()),
    });
    rows.collect()
}

fn row(input: &Input, nics: &[Arc<Caps>], cells: Vec<Cell>) -> Row {
    match input {
        Input::Program { object, program } => Row {
            object: object.clone(),
            program: program.name.clone(),
            hook: Some(program.hook.name().to_owned()),
            cells,
            error: None,
            refused: Vec::new(),
        },
        Input::Refused {
            object,
            refused,
            has_hook,
        } => Row {
            object: object.clone(),
            program: refused.name.clone(),
            hook: None,
            cells: nics
                .iter()
                .filter(|_| *has_hook)
                .map(|nic| Cell {
                    nic: nic.name.clone(),
                    verdict: Verdict::Rejected,
                    stage: Some(Stage::Object),
                    findings: vec![refused.finding.clone()],
                    rooms: Vec::new(),
                    assessment: None,
                })
                .collect(),
            error: (!has_hook).then(|| refused.finding.message.clone()),
            refused: vec![refused.finding.clone()],
        },
        Input::Unreadable { object, error } => Row {
            object: object.clone(),
            program: String::new(),
            hook: None,
            cells: Vec::new(),
            error: Some(error.clone()),
            refused: Vec::new(),
        },
    }
}

/// The cell of an assessment.
pub fn cell(assessment: Assessment) -> Cell {
    let image = image_length(&assessment);
    let rooms = assessment
        .verified
        .as_ref()
        .map_or_else(Vec::new, |verified| {
            caps::headroom(verified, &assessment.nic, image)
        });
    Cell {
        nic: assessment.nic.name.clone(),
        verdict: assessment.decision.outcome,
        stage: assessment.decision.stage,
        findings: assessment.decision.findings.clone(),
        rooms,
        assessment: Some(Arc::new(assessment)),
    }
}

/// Length of the image in instructions and in bytes.
pub fn image_length(assessment: &Assessment) -> Option<(u64, u64)> {
    let image = assessment.image.as_ref()?;
    Some((image.instructions as u64, image.code.len() as u64))
}
