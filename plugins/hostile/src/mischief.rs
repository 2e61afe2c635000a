//! How each mode is done.

use std::hint::black_box;

use weir_plugin::host::{self, Level};
use weir_plugin::{Batch, Column, Error, Problem, Rejection, Span, Values, VarBytes};

use crate::mode::{Mode, Settings};

/// What goes wrong while an instance is configured.
pub(crate) fn at_configure(settings: &Settings) -> Result<(), Vec<Problem>> {
    match settings.mode {
        Mode::LoopInConfigure => endless_loop(),
        Mode::TrapInConfigure => panic!("trapped in configure, as configured"),
        Mode::ProblemInConfigure => Err(vec![Problem::new("mode", "refused, as configured")]),
        _ => Ok(()),
    }
}

/// What goes wrong instead of work.
pub(crate) fn before(mode: Mode, calls: u32, count: u32) -> Result<(), Error> {
    match mode {
        Mode::LoopForever => endless_loop(),
        Mode::MemoryBomb => memory_bomb(),
        Mode::StackOverflow => {
            black_box(recurse(black_box(0)));
        }
        Mode::Trap => panic!("trapped, as configured"),
        Mode::TrapOnCall if calls == count => panic!("trapped on call {calls}, as configured"),
        Mode::ReturnError => return Err(Error::new("failed, as configured")),
        Mode::LogFlood => {
            let line = "flood ".repeat(171);
            (0..count).for_each(|_| host::log(Level::Info, &line));
        }
        Mode::CountFlood => (0..count).for_each(|index| host::count(&format!("flood-{index}"), 1)),
        _ => {}
    }
    Ok(())
}

/// What goes wrong with a result.
pub(crate) fn spoil(mode: Mode, rows: &mut Batch, origins: &mut Vec<u32>, rejected: &mut Vec<Rejection>, count: u32) {
    let last = rows.rows.saturating_sub(1) as usize;
    match mode {
        Mode::InvalidUtf8 => spoil_text(rows, |text| text.data.iter_mut().for_each(|byte| *byte = 0xff)),
        Mode::DecreasingOffsets => spoil_text(rows, |text| text.offsets.reverse()),
        Mode::OffsetsBeyondData => spoil_text(rows, |text| text.offsets[last + 1] += 1000),
        Mode::NegativeOffsets => spoil_text(rows, |text| text.offsets[0] = -1),
        Mode::MissingOffset => spoil_text(rows, |text| text.offsets.truncate(last + 1)),
        Mode::ShortValidity => rows.columns.iter_mut().for_each(|column| column.validity = Some(Vec::new())),
        Mode::WrongRowCount => rows.rows += 1,
        Mode::ExtraColumn => {
            rows.columns.push(Column { validity: None, values: Values::Int64(vec![0; rows.rows as usize]) });
        }
        Mode::MissingColumns => rows.columns.clear(),
        Mode::WrongType => {
            let values = Values::Float64(vec![0.0; rows.rows as usize]);
            rows.columns.iter_mut().take(1).for_each(|column| column.values = values.clone());
        }
        Mode::OriginOutOfRange => origins[last] = u32::MAX,
        Mode::DecreasingOrigins => origins.reverse(),
        Mode::MissingOrigin => origins.truncate(last),
        Mode::RejectionOutOfRange => rejected.push(rejection(u32::MAX, None, "as configured".into())),
        Mode::RejectionSpan => {
            rejected.push(rejection(0, Some(Span { start: u32::MAX, end: 1 }), "as configured".into()));
        }
        Mode::LongReason => rejected.push(rejection(0, None, "x".repeat(count as usize))),
        Mode::ManyRejections => {
            rejected.extend((0..count).map(|_| rejection(0, None, "as configured".into())));
        }
        Mode::ManyRows => {
            let mut text = VarBytes { offsets: vec![0; count as usize + 1], data: Vec::new() };
            text.data.shrink_to_fit();
            rows.rows = count;
            rows.columns = vec![Column { validity: None, values: Values::Utf8(text) }];
            *origins = vec![0; count as usize];
        }
        Mode::ManyBytes => spoil_text(rows, |text| {
            text.data = vec![b'x'; count as usize];
            let end = text.data.len() as i32;
            text.offsets.iter_mut().skip(1).for_each(|offset| *offset = end);
        }),
        _ => {}
    }
}

fn rejection(input: u32, span: Option<Span>, reason: String) -> Rejection {
    Rejection { input, element: None, span, reason }
}

/// Spoil the first text column.
fn spoil_text(rows: &mut Batch, spoil: impl FnOnce(&mut VarBytes)) {
    let texts = rows.columns.iter_mut().find_map(|column| match &mut column.values {
        Values::Utf8(text) => Some(text),
        _ => None,
    });
    if let Some(text) = texts {
        spoil(text);
    }
}

pub(crate) fn endless_loop() -> ! {
    loop {
        black_box(());
    }
}

fn memory_bomb() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// The frame is used after the call, so the call is no jump.
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX {
        return 0;
    }
    let frame = black_box([depth; 64]);
    recurse(black_box(depth + 1)) + black_box(frame)[depth as usize % 64]
}
