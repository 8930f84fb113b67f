//! Tests of the public interface.
mod adamw;
mod common;
mod lists;
mod resume;
mod schedules;
mod sgd;
