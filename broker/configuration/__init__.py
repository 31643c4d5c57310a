"""From provisioned to vacant: ansible-runner over SSH, and the SSH certificate authority."""
