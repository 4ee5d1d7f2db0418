-- What PostgreSQL says of itself.

-- name: describe_database
-- scope: reference
select current_setting('server_version') as version, current_setting('fsync') as fsync,
    current_setting('synchronous_commit') as synchronous_commit,
    current_setting('synchronous_standby_names') <> '' as standbys;
