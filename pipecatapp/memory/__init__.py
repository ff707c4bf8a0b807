"""What a household asked to keep: facts, notes, the shopping list, timers and reminders."""
