"""What is profiled: processes, containers, hosts; and what this machine allows."""
