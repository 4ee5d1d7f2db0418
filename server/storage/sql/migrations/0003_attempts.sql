-- Which of a device's hellos was the newest, so that one held up in the network does not win over a later one.
alter table device_directory add column attempt bigint not null default 0;
