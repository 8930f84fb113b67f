//! Tests of the public interface.
mod adamw;
mod common;
mod conventions;
#[path = "../../../numerics/tests/it/damage.rs"]
mod damage;
mod faults;
mod hostile;
mod kron;
mod lists;
mod muon;
mod resume;
mod schedules;
mod search;
mod sgd;
mod single;
mod slips;
mod spectral;
mod spikes;
mod traces;
mod whitening;
