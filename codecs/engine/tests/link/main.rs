//! Two legs in one process on a fake clock, over a link that loses, reorders, doubles and delays by a seed.

mod media;
mod network;

mod feedback;
mod loss;
mod newcomers;
mod peer;
mod robust;
mod sound;
mod switching;
