//! Images of entities: put back, they answer, and captured again they give images of the same.
#![no_main]

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, StringArray};
use asof_feature::ViewPlan;
use asof_fuzz::{SPENDING, begin, project, taken};
use asof_window::{Answers, Captured, KeyEncoder, Keys, Program, ReadPoint, Version, WindowState};

/// The hour of the seeds' events, and instants at both ends of what the language can say.
const HOUR_US: i64 = 1_706_742_000_000_000;
const INSTANTS_US: [i64; 4] = [-62_135_596_800_000_000, 0, HOUR_US + 3_599_000_000, 253_402_300_799_999_999];

/// A view, and keys of some of its entities.
struct View {
    program: Arc<Program>,
    keys: Keys,
}

/// By the first byte of an input: keys that are words, and texts.
static VIEWS: LazyLock<[View; 2]> = LazyLock::new(|| {
    let accounts: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4));
    let countries: ArrayRef = Arc::new(StringArray::from(vec!["GB", "DE", "Ü", ""]));
    [vec![accounts], vec![countries]]
        .into_iter()
        .enumerate()
        .map(|(view, parts)| {
            let plan = ViewPlan::new(project().views[SPENDING + view].clone()).expect("a sound view");
            let keys = KeyEncoder::new(&plan.key_types()).and_then(|encoder| encoder.encode(&parts));
            View { program: plan.program().clone(), keys: keys.expect("parts of the key's types") }
        })
        .collect::<Vec<View>>()
        .try_into()
        .unwrap_or_else(|_| unreachable!("two of them"))
});

libfuzzer_sys::fuzz_target!(init: begin(seeds()), |bytes: &[u8]| {
    if let Some((view, images)) = bytes.split_first() {
        check(&VIEWS[usize::from(view % 2)], images);
    }
});

fn seeds() -> Vec<(String, Vec<u8>)> {
    let images = taken().images.into_iter().enumerate();
    images.map(|(view, images)| (format!("view-{view}"), [vec![view as u8], images].concat())).collect()
}

fn check(view: &View, images: &[u8]) {
    let mut state = WindowState::new(view.program.clone());
    let Ok(restored) = state.restore(images) else { return };
    assert!(state.entities() <= restored, "each image is of one entity");
    let once = captured(&mut state);
    let mut again = WindowState::new(view.program.clone());
    assert_eq!(again.restore(&once), Ok(state.entities()), "what was captured can be put back");
    assert_eq!((again.events(), captured(&mut again)), (state.events(), once));
    let mut answers = Answers::with_capacity(&view.program, view.keys.len() * INSTANTS_US.len());
    for row in 0..view.keys.len() {
        for t_us in INSTANTS_US {
            state.read(Some((&view.keys, row)), ReadPoint { version: Version(1), t_us }, &mut answers);
        }
    }
    assert_eq!(answers.finish().known.len(), view.keys.len() * INSTANTS_US.len());
    state.settle(Version(1), Some(HOUR_US));
    state.sweep(restored);
    assert!(state.entities() <= again.entities());
}

fn captured(state: &mut WindowState) -> Vec<u8> {
    let mut images = Vec::new();
    state.begin_capture(Captured::Whole);
    while !state.capture(1 << 20, &mut images) {}
    images
}
