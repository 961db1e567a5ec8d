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

/// The rows of `inputs`, in their order.
pub fn rows(inputs: &[Input], nics: &[Arc<Caps>]) -> Vec<Row> {
    inputs.par_iter().map(|input| row(input, nics)).collect()
}

fn row(input: &Input, nics: &[Arc<Caps>]) -> Row {
    match input {
        Input::Program { object, program } => Row {
            object: object.clone(),
            program: program.name.clone(),
            hook: Some(program.hook.name().to_owned()),
            cells: nics
                .par_iter()
                .map(|nic| cell(pipeline::assess(program, nic, &Loaded::default())))
                .collect(),
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
