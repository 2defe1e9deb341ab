//! The verdict, tried on clusters that never existed. The end-to-end scenarios try the query on real servers.

mod cluster;
mod drift;
mod findings;
mod forks;
mod form;
mod laws;
mod recording;
mod standstill;
mod unmakeable;
mod upkeep;
