# copyright_of_linked(FOLDER): what Debian's copyright file says of the libraries whose licences are in the folder, one file
# each (its name, its copyright lines, an empty line, its licence), in
#
#   LINKED_NAMES, LINKED_COPYRIGHTS, LINKED_LICENSES, LINKED_TEXTS
#
# in the form of continued lines where there are several.
function(copyright_of_linked folder)
	file(GLOB files ${folder}/*)
	foreach(file ${files})
		get_filename_component(id ${file} NAME)
		set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
		file(READ ${file} text)
		if(NOT text MATCHES "^([^\n]+)\n(([^\n]+\n)+)\n(.*[^\n])\n*$")
			message(FATAL_ERROR "${file} is not a name, its copyright, an empty line and a licence")
		endif()
		set(name "${CMAKE_MATCH_1}")
		string(REPLACE "\n" "\n " copyright "\n${CMAKE_MATCH_2}")
		string(REPLACE "\n" "\n " licence "\n${CMAKE_MATCH_4}")
		string(REPLACE "\n \n" "\n .\n" licence "${licence}")
		list(APPEND names "${name}")
		list(APPEND licences "${id}")
		string(REGEX REPLACE "\n *$" "" copyright "${copyright}")
		string(APPEND copyrights "${copyright}")
		string(APPEND texts "\nLicense: ${id}${licence}\n")
	endforeach()
	list(JOIN names ", " names)
	list(JOIN licences " and " licences)
	set(LINKED_NAMES "${names}" PARENT_SCOPE)
	set(LINKED_COPYRIGHTS "${copyrights}" PARENT_SCOPE)
	set(LINKED_LICENSES "${licences}" PARENT_SCOPE)
	set(LINKED_TEXTS "${texts}" PARENT_SCOPE)
endfunction()
