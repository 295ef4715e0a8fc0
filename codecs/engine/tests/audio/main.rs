//! The mixer as a whole, on fake time.

mod codecs;
mod drift;
mod garbage;
mod levels;
mod loss;
mod mix;
mod rig;
