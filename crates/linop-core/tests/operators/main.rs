//! Operators against dense matrices.
mod dispatch_table;
mod facts;
mod inverses;
mod property_table;
mod rewrites;
mod rules;
mod samples;
mod spaces;
mod trees;
mod zoo;
