"""Nothing is installed and no server file is touched, neither on the servers nor on the applications' hosts."""


def test_packages_and_server_files_are_as_before(host):
    assert host.check_output("describe-host") == host.file("/root/before").content_string.strip()
