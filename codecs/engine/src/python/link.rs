//! What the handles of a leg, its receivers and its senders have in common.

use super::{closed, value_error};
use crate::core::{Core, PeerError};
use crate::io::Engine;
use crate::leg::{Leg, LegError};
use crate::output::Output;
use crate::unit::{LegId, Ns};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;

/// What a leg's handle shares with its receivers' and senders'.
#[derive(Clone)]
pub struct Link {
    pub engine: Arc<Engine>,
    pub leg: LegId,
    pub closed: Arc<AtomicBool>,
}

impl Link {
    pub fn check(&self) -> PyResult<()> {
        if self.closed.load(Relaxed) || self.engine.shared.is_closing() {
            return Err(closed("leg"));
        }
        Ok(())
    }

    pub fn with_core<R: Send>(&self, py: Python<'_>, act: impl FnOnce(&mut Core, Ns) -> R + Send) -> R {
        py.detach(|| self.engine.shared.with_core(act))
    }

    /// On the leg itself; ClosedError when a fault closed it.
    pub fn with_leg<R: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Leg, Ns, &mut Output) -> R + Send,
    ) -> PyResult<R> {
        self.check()?;
        self.with_core(py, |core, now| core.with_leg(self.leg, now, |leg, out| act(leg, now, out)))
            .ok_or_else(|| closed("leg"))
    }
}

pub fn leg_error(error: LegError) -> PyErr {
    match error {
        LegError::NoReceiver(_) => closed("receiver"),
        LegError::NoSender(_) => closed("sender"),
        other => value_error(other),
    }
}

pub fn peer_error(error: PeerError) -> PyErr {
    match error {
        PeerError::Closed => closed("leg"),
        PeerError::Leg(error) => leg_error(error),
        other => value_error(other),
    }
}
