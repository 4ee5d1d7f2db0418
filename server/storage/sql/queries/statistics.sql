-- What PostgreSQL's planner believes.

-- name: list_stale_statistics
-- scope: system
-- Tables of ours that have changed by more than half since the planner last looked at them.
select s.schemaname, s.relname
from pg_stat_user_tables s
where s.schemaname = current_schema() and s.n_mod_since_analyze > 500 + s.n_live_tup / 2
order by s.relname;

-- name: plan_for_these_values
-- scope: reference
-- Until the transaction ends statements are planned for the values they are given.
select set_config('plan_cache_mode', 'force_custom_plan', true);
