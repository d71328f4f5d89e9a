//! Gossip from outside: rule by rule, under random input, and as a network.

mod compare;
mod equivocation;
mod hour;
mod laws;
mod network;
mod outcasts;
mod refusals;
mod rules;
mod site;
mod sites;
mod sooner;
mod spread;
mod suspect;
mod urgent;
mod withheld;
