"""Pairs, stacks, cohorts and beats registered with any model, and refined."""
