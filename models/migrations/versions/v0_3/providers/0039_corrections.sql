comment on column dead_letters.amount_minor is
    'What accepting it would credit, in minor units, less than nothing for what it would take back; null where nothing can be accepted.';
